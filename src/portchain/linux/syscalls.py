"""System calls that the standard library lacks. Each raises OSError naming itself."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000

MNT_DETACH = 2
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOVE_MOUNT_T_SYMLINKS = 0x10
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
_MOUNT_ATTR_IDMAP = 0x00100000
_PR_SET_PDEATHSIG = 1

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08

_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_OPENAT2 = 437
_SYS_MOUNT_SETATTR = 442
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Move the caller to new namespaces of the kinds in ``flags`` (CLONE_NEW*)."""
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(descriptor: int, kind: int) -> None:
    """Enter the namespace that ``descriptor`` refers to; ``kind`` is its CLONE_NEW* flag."""
    _check(_libc.setns(descriptor, kind), "setns")


@contextmanager
def mount_namespace(descriptor: int) -> Iterator[None]:
    """Enter the mount namespace of ``descriptor`` for the block; the process must have only one thread."""
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    try:
        setns(descriptor, CLONE_NEWNS)
        try:
            yield
        finally:
            setns(own, CLONE_NEWNS)
    finally:
        os.close(own)


def mount(source: str, target: Path, fstype: str, flags: int = 0, options: str = "") -> None:
    """Mount a file system: mount(2)."""
    result = _libc.mount(source.encode(), os.fsencode(target), fstype.encode(), ctypes.c_ulong(flags), options.encode())
    _check(result, f"mount {fstype or source} on {target}")


def unmount(target: Path, flags: int = MNT_DETACH) -> None:
    """Unmount a file system: umount2(2)."""
    _check(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def clone_mount(source: Path, target: Path, userns: int | None = None, attributes: int = 0) -> None:
    """Mount a clone of the mount at ``source`` on ``target``; see `clone_tree` for the other parameters.

    The clone has of nosuid, nodev and noexec what ``attributes`` say, not the host's own, such as those of /run. They
    are locked in the guest.
    """
    tree = clone_tree(source, userns, attributes, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)
    try:
        attach(tree, target)
    finally:
        os.close(tree)


def clone_tree(source: Path, userns: int | None = None, attributes: int = 0, cleared: int = 0) -> int:
    """Clone the mount at ``source``, without mounts below it, and return a descriptor of the clone.

    ``userns`` is a descriptor of a user namespace whose map translates the owners of files, or None for no id-mapping.
    ``attributes`` are MOUNT_ATTR_* flags to set, ``cleared`` those to clear. Id-mapping needs Linux 5.12; for a lower
    folder of an overlay, it needs 5.19.
    """
    tree = _check(
        _libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(source), _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC),
        f"open_tree {source}",
    )
    try:
        wanted = attributes | (_MOUNT_ATTR_IDMAP if userns is not None else 0)
        attr = _MountAttr(attr_set=wanted, attr_clr=cleared, propagation=MS_PRIVATE, userns_fd=userns or 0)
        result = _libc.syscall(_SYS_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, ctypes.byref(attr), ctypes.sizeof(attr))
        _check(result, f"mount_setattr {source}")
    except OSError:
        os.close(tree)
        raise
    return tree


def attach(tree: int, target: Path) -> None:
    """Mount a clone made by `clone_tree` on ``target``, following symlinks. ``tree`` still refers to the mount."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_SYMLINKS
    result = _libc.syscall(_SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), flags)
    _check(result, f"move_mount to {target}")


@contextmanager
def mapped_namespace(uid_map: str, gid_map: str) -> Iterator[int]:
    """Yield a descriptor of a user namespace made only for its maps: lines ``FIRST_ON_DISK FIRST_SEEN COUNT``."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            die_with_parent()
            unshare(CLONE_NEWUSER)
            os.write(write, b"\n")
            signal.pause()
        finally:
            os._exit(1)
    os.close(write)
    try:
        if not os.read(read, 1):
            raise OSError("a user namespace could not be made")
        Path(f"/proc/{pid}/uid_map").write_text(uid_map)
        Path(f"/proc/{pid}/gid_map").write_text(gid_map)
        with Path(f"/proc/{pid}/ns/user").open("rb") as namespace:
            yield namespace.fileno()
    finally:
        os.close(read)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def fork(run: Callable[[], object]) -> int:
    """Fork a child that calls ``run`` and ends; return its pid."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        run()
    except BaseException as error:
        print(f"guest: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(1)


def openat2(folder: int, path: str, flags: int, resolve: int) -> int:
    """Open ``path`` from directory ``folder``: openat2(2) with RESOLVE_* flags in ``resolve``; return a descriptor."""
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError("a path must not have a zero byte")
    how = _OpenHow(flags=flags | os.O_CLOEXEC, resolve=resolve)
    return _check(
        _libc.syscall(_SYS_OPENAT2, folder, name, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how))),
        f"openat2 {path}",
    )


def pivot_root(new_root: Path) -> None:
    """Make ``new_root``, a mount point, the root; the old root is detached."""
    os.chdir(new_root)
    _check(_libc.syscall(_SYS_PIVOT_ROOT[platform.machine()], b".", b"."), f"pivot_root {new_root}")
    unmount(Path())
    os.chdir("/")


def set_hostname(name: str) -> None:
    """Set the host name in the caller's UTS namespace: sethostname(2)."""
    raw = name.encode()
    _check(_libc.sethostname(raw, ctypes.c_size_t(len(raw))), "sethostname")


def die_with_parent() -> None:
    """Have the kernel send SIGKILL to the caller when its parent ends. A change of user cancels this."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
