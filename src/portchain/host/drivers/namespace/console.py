"""The guest's console, which gets the output of its init and of every program that init starts."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from selectors import EVENT_READ, BaseSelector

from ....linux.rotating_log import RotatingLog, StampedLines, files
from ....linux.service_manager import LOGS

LOG = Path("var/log/console.log")
_MAX_LOG = 1024 * 1024
_CHUNK = 65536
MAX_RATE = 1024 * 1024  # bytes read in a second
_CONTROLS = bytes(number for number in (*range(32), 127) if number not in b"\t\n\r")
_PRINTABLE = bytes.maketrans(_CONTROLS, b"?" * len(_CONTROLS))


def log_files(guest: str) -> list[Path]:
    """Return the console's log on the host and what was rotated away, newest first; some may not exist."""
    return files(LOGS / guest / "console.log")


class Console:
    """A pipe whose ``writer`` the guest has; its output goes to the file ``log`` and to a file of the guest's own.

    The latter is emptied once it holds a MiB. A guest that prints more than MAX_RATE waits until it may go on.
    """

    def __init__(self, selector: BaseSelector, log: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._selector = selector
        self._clock = clock
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self.writer, True)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._lines = StampedLines(RotatingLog(log))
        self._guests_log: int | None = None
        self._second, self._read = clock(), 0
        self._selector.register(self._reader, EVENT_READ, self)

    def open_log(self, root: Path, owner: int) -> None:
        """Open the guest's own file below ``root`` before the guest can put a link in its place."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._guests_log = os.open(root / LOG, flags, 0o644)
        # The guest's root owns the pipe too, so that it can print through /proc/1/fd/1.
        for descriptor in (self._guests_log, self.writer):
            os.fchown(descriptor, owner, owner)

    def serve_one(self) -> None:
        """Pass on one chunk of output, and stop watching the pipe if that was all for this second."""
        self._pass_on()
        if self._read >= MAX_RATE:
            self._selector.unregister(self._reader)

    def resume(self) -> None:
        """Watch the pipe again once a second has passed."""
        if self._clock() - self._second >= 1.0:
            self._second, self._read = self._clock(), 0
            if self._reader not in self._selector.get_map():
                self._selector.register(self._reader, EVENT_READ, self)

    def _pass_on(self) -> None:
        """Pass on one chunk of output; raise BlockingIOError if there is none."""
        data = os.read(self._reader, _CHUNK)
        self._read += len(data)
        self._lines.feed(data.translate(_PRINTABLE, b"\r"))
        if self._guests_log is not None:
            with contextlib.suppress(OSError):  # the guest may have filled the log's file system
                if os.fstat(self._guests_log).st_size + len(data) > _MAX_LOG:
                    os.ftruncate(self._guests_log, 0)
                os.write(self._guests_log, data)

    def close(self) -> None:
        """Pass on the remaining output, and close the pipe and the logs."""
        if self._reader in self._selector.get_map():
            self._selector.unregister(self._reader)
        try:
            while self._read < 2 * MAX_RATE:
                self._pass_on()
        except BlockingIOError:
            pass
        self._lines.close()
        for descriptor in (self._reader, self.writer, self._guests_log):
            if descriptor is not None:
                os.close(descriptor)
