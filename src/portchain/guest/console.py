"""The guest's console: what its init and all that init starts print."""

from __future__ import annotations

import os
from pathlib import Path

LOG = Path("var/log/console.log")
_MOST = 1024 * 1024
_CHUNK = 65536


class Console:
    """A pipe whose ``writer`` the guest has; what comes out is passed on to this process' errors, and kept in a file.

    The file holds at most a MiB, then starts over. `fileno` is the descriptor to wait for.
    """

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self.writer, True)
        self._log: int | None = None

    def keep(self, root: Path, owner: int) -> None:
        """Keep a log below ``root``, which the guest must not yet have seen: it could lead elsewhere."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._log = os.open(root / LOG, flags, 0o644)
        # The pipe too, so that the guest's root can print on it: /proc/1/fd/1.
        for descriptor in (self._log, self.writer):
            os.fchown(descriptor, owner, owner)

    def fileno(self) -> int:
        """The reading end."""
        return self._reader

    def serve_one(self) -> None:
        """Pass on what is there."""
        data = os.read(self._reader, _CHUNK)
        os.write(2, data)
        if self._log is not None:
            if os.fstat(self._log).st_size + len(data) > _MOST:
                os.ftruncate(self._log, 0)
            os.write(self._log, data)

    def close(self) -> None:
        """Pass on what is left, and give up the pipe."""
        try:
            while True:
                self.serve_one()
        except BlockingIOError:
            pass
        for descriptor in (self._reader, self.writer, self._log):
            if descriptor is not None:
                os.close(descriptor)
