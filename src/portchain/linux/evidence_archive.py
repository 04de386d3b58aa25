"""Gather evidence: run probes one after the other, within limits; a probe that fails leaves a note."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from . import redact

MAX_ITEM = 1 << 20  # bytes
MAX_ITEMS = 1000
MAX_TOTAL = 64 << 20  # bytes
MAX_STREAM = MAX_TOTAL + MAX_ITEMS * 16 * 1024  # bytes, with the archive's own headers
_SECONDS = 10.0
_FIELDS = ("title", "note", "seconds")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


class ProbeError(Exception):
    """A probe has nothing to gather; the message says why."""


@dataclass(frozen=True)
class Probe:
    """A file of the archive: ``read`` returns its content, or raises OSError or ProbeError."""

    path: str
    title: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Item:
    """A gathered file without its secrets, and how long that took; ``note`` says what went wrong."""

    path: str
    title: str
    data: bytes
    note: str = ""
    seconds: float = 0.0


def run(*command: str, seconds: float = _SECONDS) -> Callable[[], bytes]:
    """Return a function that runs a command and returns what it prints; if it fails, its error is raised."""

    def read() -> bytes:
        try:
            done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
        except FileNotFoundError:
            raise ProbeError(f"no program {command[0]}") from None
        except subprocess.TimeoutExpired:
            raise ProbeError(f"{' '.join(command)}: not done after {seconds:.0f} s") from None
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip()[-500:]
            raise ProbeError(f"{' '.join(command)}: status {done.returncode}: {reason}")
        return done.stdout

    return read


def end_of(path: Path) -> Callable[[], bytes]:
    """Return a function that reads the last MAX_ITEM bytes of a file."""

    def read() -> bytes:
        with path.open("rb") as file:
            if path.is_file():
                file.seek(max(0, path.stat().st_size - MAX_ITEM))
            return file.read(MAX_ITEM)

    return read


def gather(probes: Iterable[Probe], seconds: float, clock: Callable[[], float] = time.monotonic) -> Iterator[Item]:
    """Run ``probes`` for at most about ``seconds``; those that are left then get a note each."""
    deadline = clock() + seconds
    for probe in probes:
        started = clock()
        data, note = b"", ""
        if started > deadline:
            note = f"left out: {seconds:.0f} s had passed"
        else:
            try:
                data = probe.read()
            except (OSError, ProbeError, ValueError) as error:
                note = str(error)
        if len(data) > MAX_ITEM:
            data, note = data[:MAX_ITEM], f"cut: it has {len(data)} bytes"
        redacted = redact.content(probe.path, data) if data else data
        yield Item(probe.path, probe.title, redacted, redact.text(note), round(clock() - started, 2))


def write_stream(items: Iterable[Item], target: BinaryIO) -> None:
    """Write items as a tar archive, each as soon as it is gathered."""
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for item in items:
            entry = tarfile.TarInfo(item.path)
            entry.size = len(item.data)
            entry.pax_headers = {f"PORTCHAIN.{name}": str(getattr(item, name)) for name in _FIELDS}
            archive.addfile(entry, io.BytesIO(item.data))
            target.flush()


class _Bounded(io.RawIOBase):
    """A stream of which at most ``limit`` bytes are read: tarfile holds a header of any length in memory."""

    def __init__(self, source: BinaryIO, limit: int) -> None:
        super().__init__()
        self._source = source
        self._left = limit

    def read(self, size: int = -1) -> bytes:
        """Return at most ``size`` bytes; raise ProbeError at the limit."""
        data = self._source.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise ProbeError("it sends too much")
        return data


def read_stream(source: BinaryIO, limit: int = MAX_STREAM) -> Iterator[Item]:
    """Yield the items of an archive from a guest, which is not trusted; raise OSError, ProbeError, tarfile.TarError.

    At most ``limit`` bytes are read.
    """
    total = 0
    with tarfile.open(fileobj=_Bounded(source, limit), mode="r|") as archive:
        for count, entry in enumerate(archive):
            total += entry.size
            if count >= MAX_ITEMS or total > MAX_TOTAL or entry.size > 2 * MAX_ITEM:
                raise ProbeError(f"it sends too much: {count} files, {total} bytes")
            parts = Path(entry.name).parts
            if (
                not entry.isfile()
                or entry.issparse()
                or entry.name.startswith("/")
                or ".." in parts
                or not entry.name.isprintable()
            ):
                raise ProbeError(f"it sends a file with the name {entry.name!r}")
            file = archive.extractfile(entry)
            title, note, seconds = (entry.pax_headers.get(f"PORTCHAIN.{name}", "") for name in _FIELDS)
            data = file.read() if file else b""
            yield Item(entry.name, title, data, note, float(seconds) if _NUMBER.fullmatch(seconds) else 0.0)
