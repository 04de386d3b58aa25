"""logwrite: run a command and write what it prints to a log file of bounded size.

Usage: logwrite -n NAME COMMAND [ARGUMENT ...]
The log is /var/log/docker/NAME.log. The exit status is the command's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from ..kernel import die_with_parent

FOLDER = Path("/var/log/docker")
_LIMIT = 1_000_000
_KEPT = 3
_CHUNK = 65536


class RotatingLog:
    """A log ``path`` of at most ``limit`` bytes, with ``kept`` earlier ones beside it as ``path.0``, ``path.1`` …"""

    def __init__(self, path: Path, limit: int = _LIMIT, kept: int = _KEPT) -> None:
        self._path = path
        self._limit = limit
        self._kept = kept
        self._file = path.open("ab")

    def write(self, data: bytes) -> None:
        """Append ``data``, after a rotation where it would not fit."""
        if self._file.tell() + len(data) > self._limit and self._file.tell():
            self._rotate()
        self._file.write(data)
        self._file.flush()

    def _rotate(self) -> None:
        self._file.close()
        names = [self._path, *(Path(f"{self._path}.{n}") for n in range(self._kept))]
        for older, newer in reversed(list(zip(names[1:], names, strict=False))):
            if newer.exists():
                newer.replace(older)
        self._file = self._path.open("ab")


def run(log: RotatingLog, command: list[str]) -> int:
    """Run ``command`` with its output in ``log``, signals passed on, even a kill; returns its exit status."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=die_with_parent,  # noqa: PLW1509 (there is one thread)
    ) as child:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda received, _: child.send_signal(received))
        assert child.stdout
        _copy(child.stdout, log)
        status = child.wait()
    return status if status >= 0 else 128 - status


def _copy(source: IO[bytes], log: RotatingLog) -> None:
    while data := os.read(source.fileno(), _CHUNK):
        log.write(data)


def main() -> int:
    """Do what the arguments say."""
    if len(sys.argv) < 4 or sys.argv[1] != "-n":
        print(__doc__, file=sys.stderr)
        return 2
    return run(RotatingLog(FOLDER / f"{sys.argv[2]}.log"), sys.argv[3:])
