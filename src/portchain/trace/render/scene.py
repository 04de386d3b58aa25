"""The order of what is drawn, in which lines need not cross.

Chains are beside the containers that they end at, and containers beside their bridges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from ...ports.forward import Endpoint
from ...protocol.container_states import STOPPED
from ..chain import Chain, Hop, Trace
from ..model import Container, Guest, HostForward, Link, Machine, Network

# By segment and container id, empty for the guest itself: the container and the chains that end there.
_Ends = dict[tuple[str, str], tuple[Container | None, list[Chain]]]


@dataclass(frozen=True)
class ChainEnd:
    """Where chains end: a container in one network, or without ``container`` a server of the guest's own.

    ``above`` and ``below`` are the bridges of its other networks, by where they are drawn.
    """

    name: str
    container: Container | None
    chains: tuple[Chain, ...] = ()
    above: tuple[str, ...] = ()
    below: tuple[str, ...] = ()


@dataclass(frozen=True)
class NetworkSegment:
    """Chain ends that share a bridge: ``kind`` is bridge, own (the guest's own network) or none.

    ``key`` is the bridge's name, or the kind. ``link`` and ``network`` are None where they were not seen.
    """

    kind: str
    key: str
    ends: tuple[ChainEnd, ...]
    link: Link | None = None
    network: Network | None = None


@dataclass(frozen=True)
class Scene:
    """All that is drawn, in order."""

    machine: Machine
    segments: tuple[NetworkSegment, ...]

    @property
    def chains(self) -> list[Chain]:
        """All chains from top to bottom."""
        return [chain for segment in self.segments for end in segment.ends for chain in end.chains]


def scene(machine: Machine, traces: Iterable[Trace], *, whole: bool = True) -> Scene:
    """Put chains and containers where they belong; without ``whole`` only what the chains go through."""
    chains = {chain_key(chain): chain for trace in traces for chain in trace.chains}
    ends: _Ends = {}
    for chain in chains.values():
        container = container_of(machine, chain)
        key = _segment_key(machine.guest, chain, container), container.id if container else ""
        ends.setdefault(key, (container, []))[1].append(chain)
    with_chains = {identity for _, identity in ends}
    for container in machine.guest.containers if machine.guest and whole else ():
        if container.id not in with_chains:
            ends[_home_segment(machine.guest, container), container.id] = (container, [])
    containers = [container for container, _ in ends.values() if container]
    order = _order_segments({key for key, _ in ends}, machine.guest, containers)
    return Scene(machine, tuple(_segment(machine, key, order, ends) for key in order))


def forward_of(machine: Machine, chain: Chain) -> HostForward | None:
    """Return the forward that a chain goes through."""
    return next(
        (
            forward
            for forward in machine.forwards
            if (forward.listen.protocol, forward.listen.hostport) == chain_key(chain)
        ),
        None,
    )


def chain_key(chain: Chain) -> tuple[str, str]:
    """Return what distinguishes the chains of one machine: protocol and listening address."""
    return chain.protocol, chain.listen


def container_of(machine: Machine, chain: Chain) -> Container | None:
    """Return the container that a chain ends at, or would if it were whole."""
    guest = machine.guest
    if guest is None:
        return None
    hop = chain.hop("container")
    if hop and hop.facts.get("id"):
        return guest.container(str(hop.facts["id"]))
    forward = forward_of(machine, chain)
    by_owner = forward is None or forward.origin in ("container", "host-network")
    return guest.container(chain.owner) if by_owner else None


def process_of(chain: Chain) -> str:
    """Return the server's command, if it was seen."""
    hop = chain.hop("container-socket") or chain.hop("guest-listener")
    processes = hop.facts.get("processes") if hop else None
    return str(processes[0]["command"]) if processes else ""


def inside_port(machine: Machine, chain: Chain) -> str:
    """Return the port that the chain ends at, as ``:80``; empty where that was not seen."""
    endpoint = chain.redirect_target
    forward = forward_of(machine, chain)
    if not endpoint:
        listen = Endpoint.parse(chain.listen, chain.protocol)
        owner = container_of(machine, chain)
        publications = published(machine, owner) if owner else ()
        port = next((port for host, port, _ in publications if host == listen), 0)
        endpoint = f":{port}" if port else forward.target.hostport if forward else ""
    return f":{endpoint.rpartition(':')[2]}" if endpoint else ""


def published(machine: Machine, container: Container) -> Iterator[tuple[Endpoint | None, int, str]]:
    """Return host endpoint, port and protocol of each port that a container publishes.

    The host endpoint is None where there is none now.
    """
    forwards = [forward for forward in machine.published() if forward.owner == container.name]
    bound = {(endpoint.protocol, endpoint.port): container_port for endpoint, container_port in container.bound}
    listening = [(forward.listen, bound.get((forward.target.protocol, forward.target.port))) for forward in forwards]
    for publication in container.wanted:
        hosts = [
            host
            for host, port in listening
            if (host.protocol, port) == (publication.protocol, publication.container_port)
        ]
        host = publication.host or next(iter(hosts), None)
        yield host, publication.container_port, publication.protocol


def broken_hop(chain: Chain) -> Hop | None:
    """Return the hop that breaks a chain."""
    return next((hop for hop in chain.hops if hop.state == "broken"), None)


def _segment_key(guest: Guest | None, chain: Chain, container: Container | None) -> str:
    hop = chain.hop("bridge")
    if hop and hop.facts.get("name"):
        return str(hop.facts["name"])
    return _home_segment(guest, container) if container else "own"


def _home_segment(guest: Guest | None, container: Container) -> str:
    """Return a container's segment by what the engine says: its first bridge, the guest's own network, or none."""
    if container.network_mode == "host":
        return "own"
    return next(iter(_bridges(guest, container)), "none")


def _bridges(guest: Guest | None, container: Container) -> list[str]:
    networks = [
        guest.network(attachment.network_id) or guest.network(attachment.network)
        for attachment in container.attachments
        if guest
    ]
    return [attachment.bridge for attachment in networks if attachment and attachment.bridge]


def _order_segments(keys: set[str], guest: Guest | None, containers: Sequence[Container]) -> list[str]:
    """Return the segments in drawing order: by interface number, but those that share containers together."""
    links = guest.space.links if guest else ()
    interface_numbers = {link.name: link.index for link in links}
    rank_at_end = {"own": 1, "none": 2}
    remaining = sorted(keys, key=lambda key: (rank_at_end.get(key, 0), interface_numbers.get(key, 0), key))
    shared = Counter(pair for container in containers for pair in permutations(set(_bridges(guest, container)), 2))
    ordered: list[str] = []
    while remaining:
        previous = ordered[-1] if ordered else ""
        next_key = max(remaining, key=lambda key: shared[previous, key])
        ordered.append(next_key)
        remaining.remove(next_key)
    return ordered


def _segment(machine: Machine, key: str, order: list[str], ends: _Ends) -> NetworkSegment:
    """Return one segment with its ends in the order in which they are drawn; ``order`` is that of all segments."""
    drawn = [_chain_end(machine, identity, order, ends) for identity in ends if identity[0] == key]
    drawn.sort(key=_end_order)
    if key in ("own", "none"):
        return NetworkSegment(key, key, tuple(drawn))
    guest = machine.guest
    link = guest.space.link_named(key) if guest else None
    network = next((network for network in guest.networks if network.bridge == key), None) if guest else None
    return NetworkSegment("bridge", key, tuple(drawn), link, network)


def _chain_end(machine: Machine, identity: tuple[str, str], order: list[str], ends: _Ends) -> ChainEnd:
    """Return a container, or the guest itself, with its chains and the other bridges that it is attached to."""
    key = identity[0]
    container, chains = ends[identity]
    rows = tuple(sorted(chains, key=lambda chain: _row_order(machine, chain)))
    if container is None:
        name = "not seen" if machine.guest is None else "the guest itself" if key == "own" else "unknown"
        return ChainEnd(name, None, rows)
    others = [
        bridge
        for bridge in (_bridges(machine.guest, container) if container.state not in STOPPED else ())
        if bridge in order and bridge != key and (bridge, container.id) not in ends
    ]
    position = order.index(key)
    above = tuple(bridge for bridge in others if order.index(bridge) < position)
    below = tuple(bridge for bridge in others if order.index(bridge) > position)
    return ChainEnd(container.name, container, rows, above, below)


def _row_order(machine: Machine, chain: Chain) -> tuple[object, ...]:
    """Return a sort key that keeps chains with the same end, rule and guest listener together."""
    port_inside = inside_port(machine, chain)[1:]
    listen, _, port = chain.listen.rpartition(":")
    return (int(port_inside) if port_inside.isdigit() else 0, chain.protocol, chain.target, int(port or 0), listen)


def _end_order(end: ChainEnd) -> tuple[object, ...]:
    """Return a sort key: first what is in the segment above too, last what is in the one below; stopped ones last."""
    stopped = end.container is not None and end.container.state in STOPPED
    return (bool(end.below), not end.above, stopped, not end.chains, end.name)
