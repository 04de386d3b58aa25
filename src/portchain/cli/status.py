"""Show the state of the guests and their services."""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from datetime import datetime
from typing import Any

from ..host import guests
from .common import (
    Command,
    CommandError,
    Table,
    allow_any_guest,
    format_duration,
    format_size,
    make_table,
    print_result,
    select_guests,
)
from .shell import guest_module_command, ssh_command

_DEADLINE = 15
_HEALTHY = ("running", "ended")


def services(guest: str) -> list[dict[str, Any]]:
    """Return the state of each service of the running ``guest``; raise CommandError where it does not answer."""
    try:
        command = ssh_command(guest, guest_module_command("health"))
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DEADLINE, check=False)
    except subprocess.TimeoutExpired:
        remedy = f"is it booting? portchain trace --guest {guest} says what is away"
        raise CommandError(f"guest {guest}: its services gave no answer in {_DEADLINE} s; {remedy}") from None
    if done.returncode:
        reason = done.stderr.strip().partition("\n")[0].partition(";")[0]
        remedy = "is the service diagnose, which answers, in its YAML?"
        raise CommandError(f"guest {guest}: its services cannot be asked: {reason}; {remedy}")
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def services_table(rows: list[dict[str, Any]]) -> Table:
    """Return the services of one guest as a table."""
    table = make_table("SERVICE", "STATE", "PID", "RESTARTS", "MEMORY", "UP")
    for row in rows:
        since = row["since"] and datetime.fromisoformat(row["since"]).timestamp()
        up = format_duration(time.time() - since) if since else "-"
        table.add_row(
            row["name"], row["state"], str(row["pid"] or "-"), str(row["restarts"]), format_size(row["memory"]), up
        )
    return table


def run(options: argparse.Namespace) -> int:
    """Show the state of the guests; of a single guest, its services as well."""
    statuses = [guests.status(name) for name in select_guests(options.guest)]
    if not statuses and not options.json:
        raise CommandError("host: no guest is defined: make up")
    running = [status.name for status in statuses if status.state == "running"]
    detailed = running if options.services or len(statuses) == 1 else []
    health = {name: services(name) for name in detailed}
    table = make_table("GUEST", "STATE", "DRIVER", "PID", "UPTIME", "MEMORY")
    for status in statuses:
        row = (
            status.name,
            status.state,
            status.driver or "-",
            str(status.pid or "-"),
            format_duration(status.uptime),
            format_size(status.memory),
        )
        table.add_row(*row)
    tables = [table, *(services_table(health[name]) for name in detailed)]
    print_result(
        options.json, [status.as_dict() | {"services": health.get(status.name)} for status in statuses], *tables
    )
    healthy = all(service["state"] in _HEALTHY for name in detailed for service in health[name])
    return 0 if statuses and len(running) == len(statuses) and healthy else 1


def arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``portchain status``."""
    command.add_argument("--services", action="store_true", help="the services of every guest")


COMMANDS = (Command("status", run, arguments, allow_any_guest),)
