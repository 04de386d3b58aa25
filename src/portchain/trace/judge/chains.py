"""Walk chains: from what was seen of a machine to each hop and the verdict. Pure."""

from __future__ import annotations

import time

from ..chain import Chain, Hop, Trace, Verdict, skipped_hops
from ..model import HostForward, Machine
from ..query import Query
from . import container_hops, docker_proxy_hop, guest_hops, host_hops, wire_hops
from .absent_chain import absent, missing
from .findings import ChainWalk, Step

STEPS: tuple[Step, ...] = (
    host_hops.host_socket,
    host_hops.forward,
    guest_hops.guest_listener,
    docker_proxy_hop.proxy,
    guest_hops.nat,
    guest_hops.packet_filter,
    wire_hops.bridge,
    wire_hops.veth,
    container_hops.container,
    container_hops.container_socket,
)


def trace(machine: Machine, query: Query) -> Trace:
    """Trace every chain that a client of ``query`` would use, or say why there is none."""
    chains = tuple(walk_chain(machine, forward) for forward in machine.published() if query.asks_for(forward.listen))
    chains = chains or (absent(machine, query),)
    return _trace(machine, str(query), chains)


def trace_all(machine: Machine) -> tuple[Trace, ...]:
    """Trace each port that is forwarded, in order, and each that a running container publishes without effect."""
    listens = {(forward.listen.port, forward.listen.protocol) for forward in machine.published()}
    traces = [trace(machine, Query(port, protocol)) for port, protocol in sorted(listens)]
    return (*traces, *(trace(machine, query) for query in missing(machine)))


def _trace(machine: Machine, asked: str, chains: tuple[Chain, ...]) -> Trace:
    when = machine.guest.time if machine.guest else time.time()
    return Trace(machine.host.guest, asked, when, ()).with_chains(chains)


def walk_chain(machine: Machine, forward: HostForward) -> Chain:
    """Walk one chain up to its end or its first broken hop; the hops after that are skipped."""
    walk = ChainWalk(machine, forward, machine.guest)
    hops: list[Hop] = []
    verdict: Verdict | None = None
    for step in STEPS:
        finding = step(walk)
        if finding:
            hops.append(finding.hop)
            verdict = finding.verdict
        if verdict or walk.arrived or (finding and finding.hop.state == "unknown" and walk.packet is None):
            break
    if verdict and not walk.arrived:
        hops += skipped_hops(verdict.hop)
    listen, owner = forward.listen, walk.container.name if walk.container else forward.owner
    return Chain(listen.hostport, forward.target.hostport, listen.protocol, owner, tuple(hops), verdict, walk.notes)
