"""In the guest: print the services' logs.

Usage: python3 -m portchain.guest.log_reader [--follow] [--tail N] [--json] [SERVICE ...]
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

from .places import LOGS, bundles
from .rotating_log import files

_INTERVAL = 0.2


class LogTail:
    """The lines of one log, its earlier files first; more on each call, across rotations."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._current: BinaryIO | None = None
        self._rest = b""

    def lines(self) -> list[str]:
        """The complete lines that came since the last call."""
        data = self._rest
        for file in self._unread():
            data += file.read()
        *lines, self._rest = data.split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def _unread(self) -> Iterator[BinaryIO]:
        """The file being read, then those that came after it; all where there is none yet or it is gone."""
        found: dict[int, BinaryIO] = {}
        for path in files(self._path):
            with contextlib.suppress(FileNotFoundError):
                file: BinaryIO = path.open("rb")
                inode = _inode(file)
                if inode in found or (self._current and inode == _inode(self._current)):
                    file.close()
                    break
                found[inode] = file
        newer = list(reversed(found.values()))
        if self._current:
            yield self._current
        for file in newer:
            if self._current:
                self._current.close()
            self._current = file
            yield file


def _inode(file: BinaryIO) -> int:
    return Path(f"/proc/self/fd/{file.fileno()}").stat().st_ino


def known(logs: Path, services: Iterable[str]) -> dict[str, Path]:
    """Every log by the name of what writes it: ``docker``, and ``docker/dockerd`` for a program of it."""
    found = {name: logs / f"{name}.log" for name in services}
    for name in list(found):
        found |= {f"{name}/{path.stem}": path for path in sorted((logs / name).glob("*.log"))}
    return found


def chosen(logs: dict[str, Path], services: list[str]) -> dict[str, Path]:
    """The logs of ``services``, or all; raise LookupError naming those there are."""
    for name in services:
        if name not in logs:
            raise LookupError(f"guest: no service {name!r}; there are: {', '.join(sorted(logs))}")
    return {
        name: path
        for name, path in logs.items()
        if not services or any(name == one or name.startswith(f"{one}/") for one in services)
    }


def merged(tails: dict[str, LogTail], last: int | None = None) -> list[tuple[str, str, str]]:
    """New lines as (time, service, text), in the order of their times; ``last`` of each service at most."""
    found = []
    for name, tail in tails.items():
        lines = tail.lines()
        for line in lines if last is None else lines[len(lines) - last :] if last else []:
            time, _, text = line.partition(" ")
            found.append((time, name, text))
    return sorted(found, key=lambda line: line[0])


def show(lines: list[tuple[str, str, str]], width: int, as_json: bool) -> None:
    """Print ``lines``, the name first, ``width`` wide, where several logs are shown."""
    for time, name, text in lines:
        if as_json:
            print(json.dumps({"service": name, "time": time, "line": text}))
        else:
            print(f"{f'{name:{width}} | ' if width else ''}{time} {text}")
    sys.stdout.flush()


def reader_is_gone(seconds: float) -> bool:
    """Wait for ``seconds``; whether nobody reads what is printed any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(seconds * 1000))


def main() -> int:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(prog="portchain logs")
    parser.add_argument("--follow", action="store_true")
    parser.add_argument("--tail", type=int)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("services", nargs="*")
    options = parser.parse_args()
    try:
        logs = chosen(known(Path(LOGS), (bundle.name for bundle in bundles())), options.services)
    except LookupError as error:
        print(f"portchain: {error.args[0]}", file=sys.stderr)
        return 1
    tails = {name: LogTail(path) for name, path in logs.items()}
    width = max(map(len, logs)) if len(logs) > 1 else 0
    with contextlib.suppress(BrokenPipeError):
        show(merged(tails, options.tail), width, options.json)
        while options.follow and not reader_is_gone(_INTERVAL):
            show(merged(tails), width, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
