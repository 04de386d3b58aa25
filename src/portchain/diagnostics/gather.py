"""What is gathered: probes are run one after the other, within bounds; one that fails leaves a note."""

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
_SECONDS = 10.0
_FIELDS = ("title", "note", "seconds")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


class ProbeError(Exception):
    """There is nothing to gather; the message says why."""


@dataclass(frozen=True)
class Probe:
    """How to ``read`` what becomes the file ``path``; it may raise OSError or ProbeError."""

    path: str
    title: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Item:
    """A gathered file, secrets taken out, and how long that took; ``note`` says what went wrong."""

    path: str
    title: str
    data: bytes
    note: str = ""
    seconds: float = 0.0


def run(*command: str, seconds: float = _SECONDS) -> Callable[[], bytes]:
    """What a command prints; its complaint where it fails."""

    def read() -> bytes:
        try:
            done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
        except FileNotFoundError:
            raise ProbeError(f"no program {command[0]}") from None
        except subprocess.TimeoutExpired:
            raise ProbeError(f"{' '.join(command)}: no end after {seconds:.0f} s") from None
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip()[-500:]
            raise ProbeError(f"{' '.join(command)}: status {done.returncode}: {reason}")
        return done.stdout

    return read


def end_of(path: Path) -> Callable[[], bytes]:
    """The last MAX_ITEM bytes of a file."""

    def read() -> bytes:
        with path.open("rb") as file:
            if path.is_file():
                file.seek(max(0, path.stat().st_size - MAX_ITEM))
            return file.read(MAX_ITEM)

    return read


def gather(probes: Iterable[Probe], seconds: float) -> Iterator[Item]:
    """Run ``probes`` for at most about ``seconds``; what is left then is a note each."""
    end = time.monotonic() + seconds
    for probe in probes:
        began = time.monotonic()
        data, note = b"", ""
        if began > end:
            note = f"left out: {seconds:.0f} s had passed"
        else:
            try:
                data = probe.read()
            except (OSError, ProbeError, ValueError) as error:
                note = str(error)
        if len(data) > MAX_ITEM:
            data, note = data[:MAX_ITEM], f"cut: it has {len(data)} bytes"
        safe = redact.content(probe.path, data) if data else data
        yield Item(probe.path, probe.title, safe, redact.text(note), round(time.monotonic() - began, 2))


def write_stream(items: Iterable[Item], target: BinaryIO) -> None:
    """Write items as a tar archive, each as soon as it is there."""
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for item in items:
            entry = tarfile.TarInfo(item.path)
            entry.size = len(item.data)
            entry.pax_headers = {f"PORTCHAIN.{name}": str(getattr(item, name)) for name in _FIELDS}
            archive.addfile(entry, io.BytesIO(item.data))
            target.flush()


def read_stream(source: BinaryIO) -> Iterator[Item]:
    """The items of such an archive, from a guest that is not trusted; raise OSError, ProbeError, tarfile.TarError."""
    total = 0
    with tarfile.open(fileobj=source, mode="r|") as archive:
        for count, entry in enumerate(archive):
            total += entry.size
            if count >= MAX_ITEMS or total > MAX_TOTAL or entry.size > 2 * MAX_ITEM:
                raise ProbeError(f"it sends too much: {count} files, {total} bytes")
            parts = Path(entry.name).parts
            if not entry.isfile() or entry.name.startswith("/") or ".." in parts or not entry.name.isprintable():
                raise ProbeError(f"it sends a file with the name {entry.name!r}")
            file = archive.extractfile(entry)
            title, note, seconds = (entry.pax_headers.get(f"PORTCHAIN.{name}", "") for name in _FIELDS)
            data = file.read() if file else b""
            yield Item(entry.name, title, data, note, float(seconds) if _NUMBER.fullmatch(seconds) else 0.0)
