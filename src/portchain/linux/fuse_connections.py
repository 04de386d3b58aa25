"""Abort FUSE file systems: a process that waits for a file system of its own cannot even be killed before that."""

from __future__ import annotations

import os
from pathlib import Path

from . import syscalls

_CONNECTIONS = Path("/sys/fs/fuse/connections")


def abort(uids: range) -> None:
    """Abort the FUSE file systems that ``uids`` mounted; processes that wait for one get an error."""
    if _CONNECTIONS.is_dir():
        os.waitpid(syscalls.fork(lambda: _abort(uids)), 0)


def _abort(uids: range) -> None:
    """Abort them from a mount namespace of its own, as the kernel's list of them need not be mounted on the host."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", Path("/"), "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("fusectl", _CONNECTIONS, "fusectl")
    for connection in _CONNECTIONS.iterdir():
        if connection.stat().st_uid in uids:
            (connection / "abort").write_text("1")
