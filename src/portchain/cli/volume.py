"""Read the files of volumes, without a container that mounts them."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any
from urllib.parse import urlencode

from .common import Command, format_size, make_table, print_result
from .service import ServiceClient


def contents_service(options: argparse.Namespace) -> ServiceClient:
    """Return the client of the service that lists and reads."""
    return ServiceClient(options.guest, "volume-contents")


def run(options: argparse.Namespace) -> int:
    """List the volumes or the files of one, or print a file."""
    return int(options.action(options))


def list_files(options: argparse.Namespace) -> int:
    """List the volumes, or what is at a location in one."""
    if options.location is None:
        volumes = rows(options, "/volumes")
        table = make_table("VOLUME", "MODIFIED")
        for row in volumes:
            table.add_row(row["name"], format_time(row["modified"]))
        print_result(options.json, volumes, table)
        return 0
    entries = rows(options, f"/volume-files?{query_string(options.location)}")
    table = make_table("MODE", "UID", "GID", "SIZE", "MODIFIED", "NAME")
    for row in entries:
        name = row["name"] + (f" -> {row['target']}" if row.get("target") else "")
        table.add_row(
            row["mode"], str(row["uid"]), str(row["gid"]), format_size(row["size"]), format_time(row["modified"]), name
        )
    print_result(options.json, entries, table)
    return 0


def print_file(options: argparse.Namespace) -> int:
    """Print a file unchanged."""
    url = f"/volume-file-content?{query_string(options.location)}"
    with contents_service(options).ask("GET", url) as reply:
        for piece in reply.blocks():
            sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    return 0


def query_string(location: str) -> str:
    """Encode ``VOLUME[:PATH]`` as the service expects it."""
    volume, _, path = location.partition(":")
    return urlencode({"volumeId": volume, "targetPath": path or "/"}, errors="surrogateescape")


def rows(options: argparse.Namespace, url: str) -> list[dict[str, Any]]:
    """Return what the service lists, by name."""
    with contents_service(options).ask("GET", url) as reply:
        return sorted(reply.json(), key=lambda row: str(row["name"]))


def format_time(seconds: float) -> str:
    """Format a time for people: local, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``portchain volume``."""
    actions = command.add_subparsers(required=True, metavar="ACTION")
    action_parser = actions.add_parser("ls", help="list the volumes, or the files of one")
    action_parser.add_argument(
        "location", metavar="VOLUME[:PATH]", nargs="?", help="a volume, or a folder or file in it"
    )
    action_parser.set_defaults(action=list_files)
    action_parser = actions.add_parser("cat", help="print a file")
    action_parser.add_argument("location", metavar="VOLUME:PATH", help="a file in a volume")
    action_parser.set_defaults(action=print_file)


COMMANDS = (Command("volume", run, arguments),)
