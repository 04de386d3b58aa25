"""Forbid the calling process some system calls, for good (Documentation/userspace-api/seccomp_filter.rst)."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4  # in struct seccomp_data
_X32 = 0x40000000  # numbers from here on are x86-64's second set
_INSTRUCTION = struct.Struct("=HBBI")

# By machine: its number as an audit architecture, and those of the calls.
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_NUMBERS = {
    "x86_64": {
        **{"socket": 41, "bind": 49, "listen": 50, "clone": 56, "fork": 57, "vfork": 58, "execve": 59, "open": 2},
        **{"ptrace": 101, "creat": 85, "mount": 165, "chroot": 161, "add_key": 248, "keyctl": 250, "unshare": 272},
        **{"openat": 257, "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311},
        **{"bpf": 321, "execveat": 322, "userfaultfd": 323, "io_uring_setup": 425, "clone3": 435, "openat2": 437},
        **{"perf_event_open": 298, "pidfd_getfd": 438, "kill": 62, "tkill": 200, "pidfd_send_signal": 424},
    },
    "aarch64": {
        **{"socket": 198, "bind": 200, "listen": 201, "clone": 220, "execve": 221, "ptrace": 117, "mount": 40},
        **{"chroot": 51, "add_key": 217, "keyctl": 219, "unshare": 97, "openat": 56, "open_by_handle_at": 265},
        **{"setns": 268, "process_vm_readv": 270, "process_vm_writev": 271, "bpf": 280, "execveat": 281},
        **{"userfaultfd": 282, "io_uring_setup": 425, "clone3": 435, "openat2": 437, "perf_event_open": 241},
        **{"pidfd_getfd": 438, "kill": 129, "tkill": 130, "pidfd_send_signal": 424},
    },
}


def forbid(calls: Iterable[str]) -> None:
    """Let the system calls fail with EPERM from now on, in all threads and children of this process; raise OSError.

    A call that a machine does not have is left out; a machine whose numbers are not known is refused.
    """
    machine = platform.machine()
    if machine not in _NUMBERS:
        raise OSError(errno.ENOSYS, f"no system call numbers of {machine} are known")
    numbers = [_NUMBERS[machine][call] for call in calls if call in _NUMBERS[machine]]
    program = _program(_ARCHITECTURES[machine], numbers)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // _INSTRUCTION.size, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(
        ctypes.c_long(_SECCOMP[machine]), ctypes.c_ulong(_SET_MODE_FILTER), ctypes.c_ulong(_ALL_THREADS), header
    ):
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number) if number else 'a thread has a filter of its own'}")


def _program(architecture: int, numbers: list[int]) -> bytes:
    """Return a filter: kill for a foreign architecture, EPERM for ``numbers``, and allow all else."""
    refuse = len(numbers) + 1  # instructions from the first comparison to the refusal
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, refuse, 0, _X32),
        *((_EQUAL, refuse - 1 - index, 0, number) for index, number in enumerate(numbers)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]
    return b"".join(_INSTRUCTION.pack(*step) for step in steps)
