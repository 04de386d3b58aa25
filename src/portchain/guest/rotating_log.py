"""Logs of bounded size whose lines say when they were written."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

LIMIT = 500_000
KEPT = 3
_LONGEST = 16_384


def files(path: Path, kept: int = KEPT) -> list[Path]:
    """Where the lines of the log ``path`` are, newest first; not all need be there."""
    return [path, *(path.with_name(f"{path.name}.{number}") for number in range(kept))]


class RotatingLog:
    """A log ``path`` of at most ``limit`` bytes, with ``kept`` earlier ones beside it as ``path.0``, ``path.1`` …"""

    def __init__(self, path: Path, limit: int = LIMIT, kept: int = KEPT) -> None:
        self._files = files(path, kept)
        self._limit = limit
        self._file = path.open("ab")

    def write(self, data: bytes) -> None:
        """Append ``data``, after a rotation where it would not fit."""
        if self._file.tell() + len(data) > self._limit and self._file.tell():
            self._rotate()
        self._file.write(data)
        self._file.flush()

    def _rotate(self) -> None:
        self._file.close()
        for newer, older in reversed(list(zip(self._files, self._files[1:], strict=False))):
            if newer.exists():
                newer.replace(older)
        self._file = self._files[0].open("ab")


class StampedLines:
    """Cuts what a program prints into lines and puts the time of their arrival before each: ``2026-01-31T… text``.

    A line longer than 16 KiB is cut.
    """

    def __init__(self, log: RotatingLog, clock: Callable[[], float] = time.time) -> None:
        self._log = log
        self._clock = clock
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take ``data`` as it was printed; what has no end of line yet waits for it."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST:
            lines, self._rest = [*lines, self._rest], b""
        if lines:
            now = stamp(self._clock()).encode()
            self._log.write(b"".join(b"%s %s\n" % (now, line) for line in lines))

    def close(self) -> None:
        """The program has ended, perhaps in the middle of a line."""
        if self._rest:
            self.feed(b"\n")


def stamp(seconds: float) -> str:
    """A time as logs have it, sorted as it is read: ``2026-01-31T23:59:59.123Z``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
