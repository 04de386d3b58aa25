"""Which ports lead into the guests."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .. import daemon, unix_http
from .common import Command, CommandError, entered, make_table, show, size

_CONTROL_DEADLINE = 5.0


def forwards(guest: str) -> list[dict[str, Any]]:
    """The forwards of ``guest``, as its forwarder lists them."""
    try:
        found = unix_http.get_json(str(daemon.RUN / guest / "control.sock"), "/forwards", _CONTROL_DEADLINE)
    except (OSError, ValueError) as error:
        raise CommandError(f"host: no answer from the forwarder of guest {guest}: {error}; portchain up") from error
    return [{"guest": guest, **forward} for forward in found]


def shown(forward: dict[str, Any]) -> tuple[str, str]:
    """Its two ends; udp is written out."""
    prefix = "udp:" if forward["protocol"] == "udp" else ""
    return f"{prefix}{forward['listen']}", f"{prefix}{forward['target']}"


def run(options: argparse.Namespace) -> int:
    """The forwards."""
    found = [forward for name in entered(options.guest) for forward in forwards(name)]
    if not options.all:
        found = [one for one in found if one["origin"] != "system"]
    table = make_table("GUEST", "LISTEN", "TARGET", "OWNER", "STATE", "CONNECTIONS", "RECEIVED", "SENT")
    for one in found:
        table.add_row(
            *(one["guest"], *shown(one), one["owner"], one["state"], str(one["connections"])),
            *(size(one["received"]), size(one["sent"])),
        )
    show(options.json, found, table)
    for one in found:
        if one["state"] == "failed":
            print(f"portchain: guest {one['guest']}: {one['error']}", file=sys.stderr)
    return 0


def arguments(command: argparse.ArgumentParser) -> None:
    """The words after ``portchain ps``."""
    command.add_argument("--all", "-a", action="store_true", help="the guest's own sockets as well")


COMMANDS = (Command("ps", run, arguments),)
