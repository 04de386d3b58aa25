"""Walks chains: from what was seen of a machine to each hop and the verdict. Pure."""

from __future__ import annotations

import time

from .absent import absent, missing
from .hops import container, guest, host, wires
from .hops.way import Step, Way
from .model import HostForward, Machine
from .query import Query
from .trace import KINDS, Chain, Hop, Trace, Verdict, skipped

STEPS: tuple[Step, ...] = (
    host.host_socket,
    host.forward,
    guest.guest_listener,
    guest.nat,
    guest.packet_filter,
    wires.bridge,
    wires.veth,
    container.container,
    container.container_socket,
)


def trace(machine: Machine, query: Query) -> Trace:
    """Every chain that a client who means ``query`` would come to, or why there is none."""
    chains = tuple(walk(machine, one) for one in machine.published() if query.asks_for(one.listen))
    chains = chains or (absent(machine, query),)
    return _trace(machine, str(query), chains)


def trace_all(machine: Machine) -> tuple[Trace, ...]:
    """A trace for each port that is forwarded, by port, and for each that a container that runs publishes in vain."""
    listens = {(one.listen.port, one.listen.protocol) for one in machine.published()}
    traces = [trace(machine, Query(port, protocol)) for port, protocol in sorted(listens)]
    return (*traces, *(trace(machine, query) for query in missing(machine)))


def _trace(machine: Machine, asked: str, chains: tuple[Chain, ...]) -> Trace:
    when = machine.guest.time if machine.guest else time.time()
    return Trace(machine.host.guest, asked, when, ()).with_chains(chains)


def walk(machine: Machine, forward: HostForward) -> Chain:
    """One chain, hop by hop to its end or to the first that is broken; the hops beyond are skipped."""
    way = Way(machine, forward, machine.guest)
    hops: list[Hop] = []
    verdict: Verdict | None = None
    for step, kind in zip(STEPS, KINDS, strict=True):
        if way.arrived:
            break
        found = step(way) if verdict is None else None
        if found:
            hops.append(found.hop)
            verdict = found.verdict
        elif verdict:
            hops.append(skipped(kind))
        if found and found.hop.state == "unknown" and way.packet is None:
            break
    listen, owner = forward.listen, way.container.name if way.container else forward.owner
    return Chain(listen.place, forward.target.place, listen.protocol, owner, tuple(hops), verdict, way.notes)
