"""Draw the machine and its chains on one HTML page."""

from __future__ import annotations

import argparse
import json

from ..trace.collect.evidence_session import Session
from ..trace.parse.guest_evidence import EvidenceError
from ..trace.tracing import trace_machine
from ..trace.unpublished import unpublished
from .common import Command, CommandError
from .output import STDOUT, open_output, output_path


def run(options: argparse.Namespace) -> int:
    """Draw the machine with all its chains on one HTML page, and say what is broken."""
    from ..trace.render import report_page  # noqa: PLC0415

    target = output_path(options, f"portchain-{options.guest}.html")
    try:
        with Session(options.guest) as session:
            machine, traces = trace_machine(session)
    except EvidenceError as error:
        raise CommandError(str(error)) from None
    with open_output(target) as file:
        file.write(report_page.page(machine, traces).encode())
    broken = [chain.listen for trace in traces for chain in trace.chains if chain.verdict]
    if target != STDOUT:
        not_published = [str(item) for item in unpublished(machine.guest)]
        result = {"file": str(target), "broken": broken, "unpublished": not_published}
        print(json.dumps(result, indent=2) if options.json else target)
    return 1 if broken or machine.guest is None else 0


def arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``portchain report``."""
    command.add_argument(
        "--output", "-o", metavar="FILE", help="the page, or - to print it; by default portchain-GUEST.html"
    )


COMMANDS = (Command("report", run, arguments),)
