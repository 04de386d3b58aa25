"""The machine and its chains as one HTML page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..chain.look import Session
from ..chain.read_guest import EvidenceError
from ..chain.tracing import trace_machine
from .common import DEFAULT_GUEST, Command, CommandError, entered
from .output import check_place, written


def run(options: argparse.Namespace) -> int:
    """Draw the machine with all its chains on one HTML page, and say what is broken."""
    from ..chain.draw import page  # noqa: PLC0415

    guest = options.guest or DEFAULT_GUEST
    entered(guest)
    target = Path(options.output or f"portchain-{guest}.html")
    check_place(target)
    try:
        with Session(guest) as session:
            machine, traces = trace_machine(session)
    except EvidenceError as error:
        raise CommandError(str(error)) from None
    with written(target) as file:
        file.write(page.page(machine, traces).encode())
    broken = [chain.listen for trace in traces for chain in trace.chains if chain.verdict]
    print(json.dumps({"file": str(target), "broken": broken}, indent=2) if options.json else target)
    return 1 if broken or machine.guest is None else 0


def arguments(command: argparse.ArgumentParser) -> None:
    """The words after ``portchain report``."""
    command.add_argument("--output", "-o", metavar="FILE", help="the page; by default portchain-GUEST.html")


COMMANDS = (Command("report", run, arguments),)
