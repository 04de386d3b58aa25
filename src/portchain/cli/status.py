"""How the guests are, and their services."""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from datetime import datetime
from typing import Any

from ..guest import manage
from .common import Command, CommandError, Table, chosen, duration, make_table, show, size
from .shell import in_guest

_DEADLINE = 15
_FINE = ("running", "ended")


def services(guest: str) -> list[dict[str, Any]]:
    """How each service of the running ``guest`` is; raises CommandError where it does not say."""
    try:
        done = in_guest(guest, "health", capture_output=True, timeout=_DEADLINE)
    except subprocess.TimeoutExpired:
        raise CommandError(f"guest {guest}: its services gave no answer in {_DEADLINE} s; is it booting?") from None
    if done.returncode:
        raise CommandError(f"guest {guest}: its services cannot be asked: {done.stderr.strip()}; portchain shell")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def services_table(found: list[dict[str, Any]]) -> Table:
    """The services of one guest, for people."""
    table = make_table("SERVICE", "STATE", "PID", "RESTARTS", "MEMORY", "UP")
    for one in found:
        since = one["since"] and datetime.fromisoformat(one["since"]).timestamp()
        up = duration(time.time() - since) if since else "-"
        table.add_row(one["name"], one["state"], str(one["pid"] or "-"), str(one["restarts"]), size(one["memory"]), up)
    return table


def run(options: argparse.Namespace) -> int:
    """How the guests are; with one guest, its services as well."""
    found = [manage.status(name) for name in chosen(options.guest)]
    running = [one.name for one in found if one.state == "running"]
    asked = running if options.services or len(found) == 1 else []
    health = {name: services(name) for name in asked}
    table = make_table("GUEST", "STATE", "DRIVER", "PID", "UPTIME", "MEMORY")
    for one in found:
        row = (one.name, one.state, one.driver or "-", str(one.pid or "-"), duration(one.uptime), size(one.memory))
        table.add_row(*row)
    tables = [table, *(services_table(health[name]) for name in asked)]
    show(options.json, [one.as_dict() | {"services": health.get(one.name)} for one in found], *tables)
    fine = all(one["state"] in _FINE for name in asked for one in health[name])
    return 0 if found and len(running) == len(found) and fine else 1


def arguments(command: argparse.ArgumentParser) -> None:
    """The words after ``portchain status``."""
    command.add_argument("--services", action="store_true", help="the services of every guest")


COMMANDS = (Command("status", run, arguments),)
