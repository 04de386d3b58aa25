"""Give up the rights of the calling process, for good."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ...linux import seccomp

# A relay accepts, connects, reads and writes: it opens, makes and runs nothing.
FORBIDDEN = (
    *("socket", "bind", "listen", "open", "openat", "openat2", "creat", "open_by_handle_at"),
    *("clone", "clone3", "fork", "vfork", "execve", "execveat", "unshare", "setns", "mount", "chroot"),
    *("kill", "tkill", "pidfd_send_signal", "pidfd_getfd", "ptrace", "process_vm_readv", "process_vm_writev"),
    *("add_key", "keyctl", "bpf", "userfaultfd", "io_uring_setup", "perf_event_open"),
)


def confine(uid: int) -> None:
    """Become ``uid``, in an empty root, without capabilities and without the system calls FORBIDDEN; raise OSError.

    Only root can change its user and root folder; any other user stays who it is, where it is.
    """
    if os.geteuid() == 0:
        _enter_empty_root()
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    seccomp.forbid(FORBIDDEN)


def _enter_empty_root() -> None:
    """Change to a root folder that is empty and has been removed, so that nothing can be made in it."""
    folder = tempfile.mkdtemp(prefix="portchain-relay-")
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    Path(folder).rmdir()
    os.fchdir(handle)
    os.chroot(".")
    os.close(handle)
