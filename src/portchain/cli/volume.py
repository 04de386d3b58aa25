"""The files of volumes, without a container that mounts them."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any
from urllib.parse import urlencode

from .common import DEFAULT_GUEST, Command, make_table, show, size
from .service import Service, pieces


def service(options: argparse.Namespace) -> Service:
    """What lists and reads."""
    return Service(options.guest or DEFAULT_GUEST, "volume-contents")


def run(options: argparse.Namespace) -> int:
    """List the volumes or the files of one, or print a file."""
    return int(options.action(options))


def list_files(options: argparse.Namespace) -> int:
    """List the volumes, or what is at a place in one."""
    if options.place is None:
        volumes = rows(options, "/volumes")
        table = make_table("VOLUME", "MODIFIED")
        for row in volumes:
            table.add_row(row["name"], date(row["modified"]))
        show(options.json, volumes, table)
        return 0
    entries = rows(options, f"/volume-files?{query(options.place)}")
    table = make_table("MODE", "UID", "GID", "SIZE", "MODIFIED", "NAME")
    for row in entries:
        name = printable(row["name"] + (f" -> {row['target']}" if row.get("target") else ""))
        table.add_row(row["mode"], str(row["uid"]), str(row["gid"]), size(row["size"]), date(row["modified"]), name)
    show(options.json, entries, table)
    return 0


def print_file(options: argparse.Namespace) -> int:
    """Print a file as it is."""
    url = f"/volume-file-content?{query(options.place)}"
    with service(options).ask("GET", url) as response:
        for piece in pieces(response):
            sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    return 0


def query(place: str) -> str:
    """``VOLUME[:PATH]`` as the service asks for it."""
    volume, _, path = place.partition(":")
    return urlencode({"volumeId": volume, "targetPath": path or "/"}, errors="surrogateescape")


def rows(options: argparse.Namespace, url: str) -> list[dict[str, Any]]:
    """What the service lists, by name."""
    with service(options).ask("GET", url) as response:
        return sorted(json.load(response), key=lambda row: str(row["name"]))


def date(seconds: float) -> str:
    """A time for people: local, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def printable(name: str) -> str:
    """A name for the terminal, which takes neither control characters nor bytes that are no text."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def arguments(command: argparse.ArgumentParser) -> None:
    """The words after ``portchain volume``."""
    actions = command.add_subparsers(required=True, metavar="ACTION")
    words = actions.add_parser("ls", help="list the volumes, or the files of one")
    words.add_argument("place", metavar="VOLUME[:PATH]", nargs="?", help="a volume, or a folder or file in it")
    words.set_defaults(action=list_files)
    words = actions.add_parser("cat", help="print a file")
    words.add_argument("place", metavar="VOLUME:PATH", help="a file in a volume")
    words.set_defaults(action=print_file)


COMMANDS = (Command("volume", run, arguments),)
