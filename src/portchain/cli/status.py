"""How the guests are."""

from __future__ import annotations

import argparse

from ..guest import manage
from .common import Command, chosen, duration, make_table, show, size


def run(options: argparse.Namespace) -> int:
    """How the guests are."""
    found = [manage.status(name) for name in chosen(options.guest)]
    table = make_table("GUEST", "STATE", "DRIVER", "PID", "UPTIME", "MEMORY")
    for one in found:
        table.add_row(
            one.name,
            one.state,
            one.driver or "-",
            str(one.pid or "-"),
            duration(one.uptime),
            size(one.memory),
        )
    show(options.json, [one.as_dict() for one in found], table)
    return 0 if found and all(one.state == "running" for one in found) else 1


COMMANDS = (Command("status", run),)
