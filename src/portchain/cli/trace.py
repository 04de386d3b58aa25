"""Show how a port of the host reaches its server, or why it does not."""

from __future__ import annotations

import argparse
import importlib
import json
import socket
import threading
import time
from dataclasses import replace
from typing import Any

from ..trace.chain import Trace
from ..trace.collect.evidence_session import Session
from ..trace.collect.probe import probe
from ..trace.model import Machine
from ..trace.parse.guest_evidence import EvidenceError
from ..trace.query import Query
from ..trace.tracing import trace_machine, trace_port
from ..trace.unpublished import unpublished
from .common import Command, CommandError

_RENDERERS = {"text": "terminal_view", "mermaid": "mermaid", "svg": "svg"}
FORMATS = (*_RENDERERS, "json")


def run(options: argparse.Namespace) -> int:
    """Walk the chain from a port of the host, hop by hop, and say what is broken."""
    if options.port and options.port.address:
        check_local_address(options.port.address)
    output_format = "json" if options.json else options.format
    threading.Thread(target=load_renderer, args=(output_format,)).start()  # loads while the guest is looking
    try:
        machine, result = collect_trace(options.guest, options.port, options.probe)
    except EvidenceError as error:
        raise CommandError(str(error)) from None
    print_trace(machine, result, output_format)
    return 1 if result.verdict or machine.guest is None else 0


def check_local_address(address: str) -> None:
    """Raise CommandError where an address does not belong to this machine."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((address, 0))
    except OSError:
        text = f"host: {address} is no address of this machine, so that no client comes to it here; see ip address"
        raise CommandError(text) from None


def load_renderer(output_format: str) -> Any:
    """Import the module that renders one of FORMATS; return None for JSON."""
    if output_format not in _RENDERERS:
        return None
    return importlib.import_module(f"..trace.render.{_RENDERERS[output_format]}", __package__)


def print_trace(machine: Machine, result: Trace, output_format: str) -> None:
    """Print a trace in one of FORMATS."""
    renderer = load_renderer(output_format)
    if output_format == "json":
        print(json.dumps(result.as_dict(), indent=2))
    elif output_format == "mermaid":
        print(renderer.chains([result]))
    elif output_format == "svg":
        print(renderer.picture(machine, [result], whole=False))
    else:
        renderer.show(result)


def collect_trace(guest: str, port: Query | None, probed: bool) -> tuple[Machine, Trace]:
    """Collect the machine's state and trace it; raise EvidenceError."""
    with Session(guest) as session:
        if port:
            machine, result = trace_port(session, port)
        else:
            machine, traces = trace_machine(session)
            if machine.guest is None and not traces:
                raise CommandError(machine.host.forwarder_error or machine.guest_error)
            result = replace(merge(guest, traces), unpublished=unpublished(machine.guest))
        if probed and (machine.guest or not result.verdict):  # a guest that is away cannot watch
            address = port.address if port else ""
            result = result.with_chains(
                tuple(probe(session, chain, address) if chain.target else chain for chain in result.chains)
            )
    return machine, result


def merge(guest: str, traces: tuple[Trace, ...]) -> Trace:
    """Merge all traces into one."""
    time_seen = traces[0].time if traces else time.time()
    return Trace(guest, "*", time_seen, ()).with_chains(tuple(chain for trace in traces for chain in trace.chains))


def parse_query(text: str) -> Query:
    """Parse the port that is asked about; raise argparse.ArgumentTypeError."""
    try:
        return Query.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``portchain trace``."""
    port = "8080, 53/udp, 127.0.0.1:8080, [::1]:8080; every forwarded port by default"
    command.add_argument("port", nargs="?", type=parse_query, metavar="PORT", help=port)
    command.add_argument("--probe", action="store_true", help="send one connection, and time it at each hop")
    command.add_argument("--format", choices=FORMATS, default="text", help="default: text")


COMMANDS = (Command("trace", run, arguments),)
