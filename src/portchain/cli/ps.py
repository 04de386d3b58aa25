"""List which ports lead into the guests."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..http import blocking_client
from ..linux import service_manager
from ..ports.forward import Endpoint
from ..trace.collect.evidence_session import Session
from ..trace.model import Machine
from ..trace.unpublished import Unpublished, may_have_unpublished, unpublished
from .common import Command, CommandError, accessible_guests, allow_any_guest, format_size, make_table, print_result

_CONTROL_DEADLINE = 5.0


def forwards(guest: str) -> list[dict[str, Any]]:
    """Return the forwards of ``guest``, as its forwarder lists them; raise CommandError."""
    try:
        rows = blocking_client.get_json(
            str(service_manager.RUN / guest / "control.sock"), "/forwards", _CONTROL_DEADLINE
        )
    except (OSError, ValueError) as error:
        raise CommandError(f"host: no answer from the forwarder of guest {guest}: {error}; portchain up") from error
    return [{"guest": guest, **forward} for forward in rows]


def _ends(row: dict[str, Any]) -> tuple[str, str]:
    """Return where a forward listens and where it leads, for people."""
    listen, target = (Endpoint.parse(row[end], row["protocol"]) for end in ("listen", "target"))
    return listen.display(protocol=True), target.display(protocol=True)


def run(options: argparse.Namespace) -> int:
    """List the forwards."""
    guests = accessible_guests(options.guest)
    if not guests and not options.json:
        raise CommandError("host: no guest is defined: make up")
    rows = [forward for name in guests for forward in forwards(name)]
    if not options.all:
        rows = [row for row in rows if row["origin"] != "system"]
    table = make_table("GUEST", "LISTEN", "TARGET", "OWNER", "STATE", "CONNECTIONS", "RECEIVED", "SENT")
    for row in rows:
        table.add_row(
            *(row["guest"], *_ends(row), row["owner"], row["state"], str(row["connections"])),
            *(format_size(row["received"]), format_size(row["sent"])),
        )
    print_result(options.json, rows, table)
    for row in rows:
        if row["state"] == "failed":
            print(f"portchain: guest {row['guest']}: {row['error']}", file=sys.stderr)
    for name in guests:
        for ports in not_published(name):
            print(f"portchain: guest {name}: {ports}", file=sys.stderr)
    return 0


def not_published(guest: str) -> tuple[Unpublished, ...]:
    """Return what containers ask for without effect; nothing where the guest does not answer."""

    def choose(machine: Machine) -> list[str]:
        guest_state = machine.guest
        if guest_state is None:
            return []
        return [container.id for container in guest_state.containers if may_have_unpublished(guest_state, container)]

    with Session(guest) as session:
        return unpublished(session.collect(choose=choose).guest)


def arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``portchain ps``."""
    command.add_argument("--all", "-a", action="store_true", help="the guest's own sockets as well")


COMMANDS = (Command("ps", run, arguments, allow_any_guest),)
