"""Gather everything that helps to find a fault in one archive."""

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

from ..diagnostics import host_evidence, index_page
from ..linux import service_manager
from ..linux.evidence_archive import Item, ProbeError, gather, read_stream
from .common import Command, UsageError
from .output import STDOUT, open_output, output_path

_HOST_SECONDS = 60.0
_SILENCE_SECONDS = 30.0
_KINDS = (".tar.gz", ".tgz", ".zip")


def run(options: argparse.Namespace) -> int:
    """Gather logs, configurations without secrets, sockets, rules, links and versions in one archive."""
    guest = options.guest
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    name = f"portchain-{guest}-{stamp}"
    target = output_path(options, f"{name}.tar.gz")
    check_archive_name(target)
    items = list(with_progress(collect_both_sides(guest)))
    notes = {item.path: item.note for item in items if item.note}
    facts = {"Guest": guest, "Gathered": stamp, "Files": str(len(items)), "Missing or cut": str(len(notes))}
    index = Item("index.html", "", index_page.index(f"portchain: guest {guest}", facts, items).encode())
    write_archive(target, name, [index, *(item for item in items if item.data)])
    if target != STDOUT:
        result = {"file": str(target), "files": len(items), "notes": notes}
        print(json.dumps(result, indent=2) if options.json else target)
    return 0


def check_archive_name(target: Path) -> None:
    """Raise UsageError where ``target`` names another kind of file, or is a terminal."""
    if target == STDOUT:
        if sys.stdout.isatty():
            raise UsageError("host: an archive is not for a terminal; name a file, or have it piped")
    elif not target.name.lower().endswith(_KINDS) and not (target.exists() and not target.is_file()):
        raise UsageError(f"host: {target}: the archive's name is to end with one of {', '.join(_KINDS)}")


def collect_both_sides(guest: str) -> Iterator[Item]:
    """Yield all items, each path beginning with its side."""
    for item in gather(host_evidence.probes(guest), _HOST_SECONDS):
        yield replace(item, path=f"host/{item.path}")
    try:
        for item in collect_guest(guest):
            yield replace(item, path=f"guest/{item.path}")
    except (OSError, ProbeError, tarfile.TarError) as error:
        yield Item("guest", "The guest's side", b"", f"the guest gave nothing more: {error}")


def collect_guest(guest: str) -> Iterator[Item]:
    """Yield what diagnosticsd gathers; raise OSError, ProbeError, tarfile.TarError."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_SILENCE_SECONDS)
        client.connect(str(service_manager.RUN / guest / "diagnostics.sock"))
        with client.makefile("rb") as source:
            yield from read_stream(source)


def with_progress(items: Iterable[Item]) -> Iterator[Item]:
    """Yield the items, with a line on stderr for each folder and for each item that is missing."""
    previous_folder = ""
    for item in items:
        folder = item.path.rpartition("/")[0]
        if folder != previous_folder:
            print(folder or item.path, file=sys.stderr, flush=True)
        if item.note:
            print(f"  {item.path}: {item.note}", file=sys.stderr, flush=True)
        previous_folder = folder
        yield item


def write_archive(target: Path, folder: str, items: Iterable[Item]) -> None:
    """Write the items below ``folder`` as a zip or a compressed tar, by the target's name, for its owner alone."""
    with open_output(target) as file:
        if target.suffix.lower() == ".zip":
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
    """Add the arguments of ``portchain diagnose``."""
    command.add_argument(
        "--output", "-o", metavar="FILE", help="the archive, .tar.gz or .zip, or - to print it; default: by time"
    )


COMMANDS = (Command("diagnose", run, arguments),)
