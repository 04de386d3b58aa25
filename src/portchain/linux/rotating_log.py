"""Logs of bounded size with a time stamp on each line."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

LIMIT = 500_000
KEPT = 3
_MAX_LINE = 16_384


def files(path: Path, kept: int = KEPT) -> list[Path]:
    """Return the files of the log ``path``, newest first; some may not exist."""
    return [path, *(path.with_name(f"{path.name}.{number}") for number in range(kept))]


class RotatingLog:
    """A log ``path`` of at most ``limit`` bytes, with ``kept`` older ones beside it as ``path.0``, ``path.1`` …"""

    def __init__(self, path: Path, limit: int = LIMIT, kept: int = KEPT) -> None:
        self._files = files(path, kept)
        self._limit = limit
        self._file = path.open("ab")

    def write(self, data: bytes) -> None:
        """Append ``data``; rotate first if the log would become too large."""
        if self._file.tell() + len(data) > self._limit and self._file.tell():
            self._rotate()
        self._file.write(data)
        self._file.flush()

    def close(self) -> None:
        """Close the log."""
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        for newer, older in reversed(list(zip(self._files, self._files[1:], strict=False))):
            if newer.exists():
                newer.replace(older)
        self._file = self._files[0].open("ab")


class StampedLines:
    """Splits a program's output into lines and writes each with its time of arrival: ``2026-01-31T… text``.

    A line longer than 16 KiB is split.
    """

    def __init__(self, log: RotatingLog, clock: Callable[[], float] = time.time) -> None:
        self._log = log
        self._clock = clock
        self._incomplete = b""

    def feed(self, data: bytes) -> None:
        """Write the lines that ``data`` completes; keep an incomplete last line until its end comes."""
        *lines, self._incomplete = (self._incomplete + data).split(b"\n")
        if len(self._incomplete) > _MAX_LINE:
            lines, self._incomplete = [*lines, self._incomplete], b""
        if lines:
            now = stamp(self._clock()).encode()
            self._log.write(b"".join(b"%s %s\n" % (now, line) for line in lines))

    def close(self) -> None:
        """Write an incomplete last line, for the program has ended, and close the log."""
        if self._incomplete:
            self.feed(b"\n")
        self._log.close()


def stamp(seconds: float) -> str:
    """Format a time, given in seconds since 1970, so that texts sort by time: ``2026-01-31T23:59:59.123Z``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
