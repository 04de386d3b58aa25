"""Everything that helps to find a fault, in one archive."""

from __future__ import annotations

import argparse
import io
import json
import socket
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from .. import daemon
from ..diagnostics import host, page
from ..diagnostics.gather import Item, ProbeError, gather, read_stream
from .common import DEFAULT_GUEST, Command, entered
from .output import check_place, written

_HOST_SECONDS = 60.0
_SILENCE_SECONDS = 30.0


def run(options: argparse.Namespace) -> int:
    """Gather logs, configurations without secrets, sockets, rules, links and versions in one archive."""
    guest = options.guest or DEFAULT_GUEST
    entered(guest)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    name = f"portchain-{guest}-{stamp}"
    target = Path(options.output or f"{name}.tar.gz")
    check_place(target)
    items = list(told(both_sides(guest)))
    notes = {item.path: item.note for item in items if item.note}
    facts = {"Guest": guest, "Gathered": stamp, "Files": str(len(items)), "Missing or cut": str(len(notes))}
    index = Item("index.html", "", page.index(f"portchain: guest {guest}", facts, items).encode())
    write(target, name, [index, *(item for item in items if item.data)])
    print(json.dumps({"file": str(target), "files": len(items), "notes": notes}, indent=2) if options.json else target)
    return 0


def both_sides(guest: str) -> Iterator[Item]:
    """All there is, each path beginning with its side."""
    for item in gather(host.probes(guest), _HOST_SECONDS):
        yield replace(item, path=f"host/{item.path}")
    try:
        for item in of_guest(guest):
            yield replace(item, path=f"guest/{item.path}")
    except (OSError, ProbeError, tarfile.TarError) as error:
        yield Item("guest", "The guest's side", b"", f"the guest gave nothing more: {error}")


def of_guest(guest: str) -> Iterator[Item]:
    """What diagnosticsd gathers; raise OSError, ProbeError, tarfile.TarError."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_SILENCE_SECONDS)
        client.connect(str(daemon.RUN / guest / "diagnostics.sock"))
        with client.makefile("rb") as source:
            yield from read_stream(source)


def told(items: Iterable[Item]) -> Iterator[Item]:
    """The items, with a line on stderr for each folder and for each that is missing."""
    before = ""
    for item in items:
        folder = item.path.rpartition("/")[0]
        if folder != before:
            print(folder or item.path, file=sys.stderr, flush=True)
        if item.note:
            print(f"  {item.path}: {item.note}", file=sys.stderr, flush=True)
        before = folder
        yield item


def write(target: Path, folder: str, items: Iterable[Item]) -> None:
    """Write the items below ``folder`` as a zip or a compressed tar, by the target's name, for its owner alone."""
    with written(target) as file:
        if target.suffix == ".zip":
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
                for item in items:
                    packed.writestr(f"{folder}/{item.path}", item.data)
            return
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as archive:
            for item in items:
                entry = tarfile.TarInfo(f"{folder}/{item.path}")
                entry.size, entry.mtime, entry.mode = len(item.data), int(time.time()), 0o600
                archive.addfile(entry, io.BytesIO(item.data))


def arguments(command: argparse.ArgumentParser) -> None:
    """The words after ``portchain diagnose``."""
    command.add_argument("--output", "-o", metavar="FILE", help="the archive, .tar.gz or .zip; default: by time")


COMMANDS = (Command("diagnose", run, arguments),)
