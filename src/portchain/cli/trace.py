"""How a port of the host reaches its server, or why it does not."""

from __future__ import annotations

import argparse
import importlib
import json
import socket
import threading
import time
from typing import Any

from ..chain.look import Session
from ..chain.model import Machine
from ..chain.prober import probe
from ..chain.query import Query
from ..chain.read_guest import EvidenceError
from ..chain.trace import Trace
from ..chain.tracing import trace_machine, trace_port
from .common import DEFAULT_GUEST, Command, CommandError, entered

_DRAWN_BY = {"text": "terminal", "mermaid": "mermaid", "svg": "svg"}
FORMATS = (*_DRAWN_BY, "json")


def run(options: argparse.Namespace) -> int:
    """Walk the chain from a port of the host, hop by hop, and say what is broken."""
    guest = options.guest or DEFAULT_GUEST
    entered(guest)
    if options.port and options.port.address:
        check_own(options.port.address)
    form = "json" if options.json else options.format
    threading.Thread(target=drawn_by, args=(form,)).start()  # loads while the guest is looking
    try:
        machine, found = look(guest, options.port, options.probe)
    except EvidenceError as error:
        raise CommandError(str(error)) from None
    show(machine, found, form)
    return 1 if found.verdict or machine.guest is None else 0


def check_own(address: str) -> None:
    """Raise CommandError where an address is none of this machine's."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((address, 0))
    except OSError:
        text = f"host: {address} is no address of this machine, so that no client comes to it here; see ip address"
        raise CommandError(text) from None


def drawn_by(form: str) -> Any:
    """The module that draws one of FORMATS, None for JSON."""
    return importlib.import_module(f"..chain.draw.{_DRAWN_BY[form]}", __package__) if form in _DRAWN_BY else None


def show(machine: Machine, found: Trace, form: str) -> None:
    """Print it in one of FORMATS."""
    drawing = drawn_by(form)
    if form == "json":
        print(json.dumps(found.as_dict(), indent=2))
    elif form == "mermaid":
        print(drawing.chains([found]))
    elif form == "svg":
        print(drawing.picture(machine, [found], whole=False))
    else:
        drawing.show(found)


def look(guest: str, port: Query | None, probed: bool) -> tuple[Machine, Trace]:
    """The machine and its traces; raise EvidenceError."""
    with Session(guest) as session:
        if port:
            machine, found = trace_port(session, port)
        else:
            machine, traces = trace_machine(session)
            if machine.guest is None and not traces:
                raise CommandError(machine.host.forwarder_error or machine.guest_error)
            found = whole(guest, traces)
        if probed and (machine.guest or not found.verdict):  # a guest that is away cannot watch
            at = port.address if port else ""
            found = found.with_chains(tuple(probe(session, one, at) if one.target else one for one in found.chains))
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
