"""Print the services' logs.

Usage: python3 -m portchain.guest.logs.reader [--follow] [--tail N] [--json] [SERVICE ...]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import select
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ...linux.rotating_log import files
from ...linuxkit.paths import LOGS, bundles

_INTERVAL = 0.2


class LogTail:
    """The lines of one log, its rotated files first; each call returns those that are new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._current: BinaryIO | None = None
        self._incomplete = b""

    def lines(self) -> list[str]:
        """Return the complete lines that were written since the last call."""
        data = self._incomplete
        for file in self._unread():
            data += file.read()
        *lines, self._incomplete = data.split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def _unread(self) -> Iterator[BinaryIO]:
        """Yield the file being read, then newer ones; yield all if none is being read, or it is gone."""
        opened: dict[int, BinaryIO] = {}
        for path in files(self._path):
            with contextlib.suppress(FileNotFoundError):
                file: BinaryIO = path.open("rb")
                inode = _inode(file)
                if inode in opened or (self._current and inode == _inode(self._current)):
                    file.close()
                    break
                opened[inode] = file
        newer = list(reversed(opened.values()))
        if self._current:
            yield self._current
        for file in newer:
            if self._current:
                self._current.close()
            self._current = file
            yield file


def _inode(file: BinaryIO) -> int:
    return Path(f"/proc/self/fd/{file.fileno()}").stat().st_ino


def find_logs(logs: Path, services: Iterable[str]) -> dict[str, Path]:
    """Return every log by the name of what writes it: ``docker``, or ``docker/dockerd`` for a program of a service."""
    logs_by_name = {name: logs / f"{name}.log" for name in services}
    for name in list(logs_by_name):
        logs_by_name |= {f"{name}/{path.stem}": path for path in sorted((logs / name).glob("*.log"))}
    return logs_by_name


def select_logs(logs: dict[str, Path], services: list[str]) -> dict[str, Path]:
    """Return the logs of ``services``, or all; raise LookupError if there is no such service."""
    for name in services:
        if name not in logs:
            raise LookupError(f"guest: no service {name!r}; there are: {', '.join(sorted(logs))}")
    return {
        name: path
        for name, path in logs.items()
        if not services or any(name == service or name.startswith(f"{service}/") for service in services)
    }


def merge_lines(tails: dict[str, LogTail], last: int | None = None) -> list[tuple[str, str, str]]:
    """Return new lines as (time, service, text), sorted by time; at most the ``last`` ones of each service."""
    rows = []
    for name, tail in tails.items():
        lines = tail.lines()
        for line in lines if last is None else lines[len(lines) - last :] if last else []:
            time, _, text = line.partition(" ")
            rows.append((time, name, text))
    return sorted(rows, key=lambda line: line[0])


def print_lines(lines: list[tuple[str, str, str]], width: int, as_json: bool) -> None:
    """Print ``lines``; with a ``width``, each begins with the name of its log, padded to it."""
    for time, name, text in lines:
        if as_json:
            print(json.dumps({"service": name, "time": time, "line": text}))
        else:
            print(f"{f'{name:{width}} | ' if width else ''}{time} {text}")
    sys.stdout.flush()


def wait_for_hangup(seconds: float) -> bool:
    """Wait for ``seconds``; return whether the reader of standard output has gone."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(seconds * 1000))


def main() -> int:
    """Print the logs that the arguments ask for."""
    parser = argparse.ArgumentParser(prog="portchain logs")
    parser.add_argument("--follow", action="store_true")
    parser.add_argument("--tail", type=int)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("services", nargs="*")
    options = parser.parse_args()
    try:
        logs = select_logs(find_logs(Path(LOGS), (bundle.name for bundle in bundles())), options.services)
    except LookupError as error:
        print(f"portchain: {error.args[0]}", file=sys.stderr)
        return 1
    tails = {name: LogTail(path) for name, path in logs.items()}
    width = max(map(len, logs)) if len(logs) > 1 else 0
    with contextlib.suppress(BrokenPipeError):
        print_lines(merge_lines(tails, options.tail), width, options.json)
        while options.follow and not wait_for_hangup(_INTERVAL):
            print_lines(merge_lines(tails), width, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
