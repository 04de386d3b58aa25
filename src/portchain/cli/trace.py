"""How a port of the host reaches its server, or why it does not."""

from __future__ import annotations

import argparse
import json
import time

from ..chain.look import Session
from ..chain.model import Machine
from ..chain.prober import probe
from ..chain.query import Query
from ..chain.read_guest import EvidenceError
from ..chain.trace import Trace
from ..chain.tracing import trace_machine, trace_port
from .common import DEFAULT_GUEST, Command, CommandError, chosen

FORMATS = ("text", "json", "mermaid", "svg")


def run(options: argparse.Namespace) -> int:
    """Walk the chain from a port of the host, hop by hop, and say what is broken."""
    guest = options.guest or DEFAULT_GUEST
    chosen(guest)
    try:
        machine, found = look(guest, options.port, options.probe)
    except EvidenceError as error:
        raise CommandError(str(error)) from None
    form = "json" if options.json else options.format
    if form == "json":
        print(json.dumps(found.as_dict(), indent=2))
    elif form == "mermaid":
        from ..chain.draw import mermaid  # noqa: PLC0415

        print(mermaid.chains([found]))
    elif form == "svg":
        from ..chain.draw import svg  # noqa: PLC0415

        print(svg.picture(machine, [found]))
    else:
        from ..chain.draw import terminal  # noqa: PLC0415

        terminal.show(found)
    return 1 if found.verdict else 0


def look(guest: str, port: Query | None, probed: bool) -> tuple[Machine, Trace]:
    """The machine and its traces; raise EvidenceError."""
    with Session(guest) as session:
        if port:
            machine, found = trace_port(session, port)
        else:
            machine, traces = trace_machine(session)
            found = whole(guest, traces)
        if probed:
            found = found.with_chains(tuple(probe(session, one) if one.target else one for one in found.chains))
    return machine, found


def whole(guest: str, traces: tuple[Trace, ...]) -> Trace:
    """All traces as one."""
    seen = traces[0].time if traces else time.time()
    return Trace(guest, "*", seen, ()).with_chains(tuple(chain for one in traces for chain in one.chains))


def query(text: str) -> Query:
    """What is asked about; argparse.ArgumentTypeError where that makes no sense."""
    try:
        return Query.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def arguments(command: argparse.ArgumentParser) -> None:
    """The words after ``portchain trace``."""
    port = "8080, 53/udp, 127.0.0.1:8080, [::1]:8080; every forwarded port by default"
    command.add_argument("port", nargs="?", type=query, metavar="PORT", help=port)
    command.add_argument("--probe", action="store_true", help="send one connection, and time it at each hop")
    command.add_argument("--format", choices=FORMATS, default="text", help="default: text")


COMMANDS = (Command("trace", run, arguments),)
