"""What is drawn where: chains beside the containers they end at, containers beside their bridges.

All is in an order in which lines need not cross.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from ...mapping.forward import Endpoint
from ..model import Container, Guest, HostForward, Link, Machine, Network
from ..trace import Chain, Hop, Trace

ENDED = ("exited", "created", "dead", "removing")
# With processes, and so with a network namespace.
LIVE = ("running", "paused")


@dataclass(frozen=True)
class Place:
    """Where chains end: a container in one network, or without ``container`` a server of the guest's own.

    ``above`` and ``below`` are its other networks, by where they are drawn.
    """

    name: str
    container: Container | None
    chains: tuple[Chain, ...] = ()
    above: tuple[str, ...] = ()
    below: tuple[str, ...] = ()


@dataclass(frozen=True)
class Area:
    """Places that share a way: ``kind`` is bridge, own (the guest's own network) or none.

    ``key`` is the bridge's name. ``link`` and ``network`` are there as far as they were seen.
    """

    kind: str
    key: str
    places: tuple[Place, ...]
    link: Link | None = None
    network: Network | None = None


@dataclass(frozen=True)
class Scene:
    """All that is drawn."""

    machine: Machine
    areas: tuple[Area, ...]

    @property
    def chains(self) -> list[Chain]:
        """From top to bottom."""
        return [chain for area in self.areas for place in area.places for chain in place.chains]


def scene(machine: Machine, traces: Iterable[Trace], *, whole: bool = True) -> Scene:
    """Put chains and containers where they belong; without ``whole`` only what the chains go through."""
    chains = {(one.protocol, one.listen): one for trace in traces for one in trace.chains}
    found: dict[tuple[str, str], tuple[Container | None, list[Chain]]] = {}
    for chain in chains.values():
        container = container_of(machine, chain)
        key = _way(machine.guest, chain, container), container.id if container else ""
        found.setdefault(key, (container, []))[1].append(chain)
    seen = {identity for _, identity in found}
    for one in machine.guest.containers if machine.guest and whole else ():
        if one.id not in seen:
            found[_home(machine.guest, one), one.id] = (one, [])
    areas = _neighbours({key for key, _ in found}, machine.guest, [one for one, _ in found.values() if one])
    return Scene(machine, tuple(_area(machine, key, areas, found) for key in areas))


def forward_of(machine: Machine, chain: Chain) -> HostForward | None:
    """The forward that a chain goes through."""
    return next((f for f in machine.forwards if (f.listen.protocol, f.listen.place) == chain_key(chain)), None)


def chain_key(chain: Chain) -> tuple[str, str]:
    """What tells chains of one machine apart: protocol and listening place."""
    return chain.protocol, chain.listen


def container_of(machine: Machine, chain: Chain) -> Container | None:
    """The container that a chain ends at, or would if it were whole."""
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
    """The server's command, as far as it was seen."""
    hop = chain.hop("container-socket") or chain.hop("guest-listener")
    processes = hop.facts.get("processes") if hop else None
    return str(processes[0]["command"]) if processes else ""


def inside_port(machine: Machine, chain: Chain) -> str:
    """The port that the chain ends at, as ``:80``; empty where that was not seen."""
    hop = chain.hop("nat")
    place = str(hop.facts.get("to") or "") if hop else ""
    forward = forward_of(machine, chain)
    if not place:
        listen = Endpoint.parse(chain.listen, chain.protocol)
        owner = container_of(machine, chain)
        ends = published(machine, owner) if owner else ()
        inside = next((inside for host, inside, _ in ends if host == listen), 0)
        place = f":{inside}" if inside else forward.target.place if forward else ""
    return f":{place.rpartition(':')[2]}" if place else ""


def published(machine: Machine, container: Container) -> Iterator[tuple[Endpoint | None, int, str]]:
    """Host endpoint, port and protocol of each port that a container publishes; none where it has no endpoint now."""
    forwards = [one for one in machine.published() if one.owner == container.name]
    bound = {(end.protocol, end.port): inside for end, inside in container.bound}
    live = [(one.listen, bound.get((one.target.protocol, one.target.port))) for one in forwards]
    for wanted in container.wanted:
        same = [host for host, port in live if (host.protocol, port) == (wanted.protocol, wanted.container_port)]
        host = wanted.host or next(iter(same), None)
        yield host, wanted.container_port, wanted.protocol


def broken_hop(chain: Chain) -> Hop | None:
    """The hop that breaks it."""
    return next((hop for hop in chain.hops if hop.state == "broken"), None)


def _way(guest: Guest | None, chain: Chain, container: Container | None) -> str:
    hop = chain.hop("bridge")
    if hop and hop.facts.get("name"):
        return str(hop.facts["name"])
    return _home(guest, container) if container else "own"


def _home(guest: Guest | None, container: Container) -> str:
    """Where a container is by what the engine says: its first network's bridge, the guest's own network, or none."""
    if container.network_mode == "host":
        return "own"
    return next(iter(_bridges(guest, container)), "none")


def _bridges(guest: Guest | None, container: Container) -> list[str]:
    networks = [guest.network(one.network_id) or guest.network(one.network) for one in container.attachments if guest]
    return [one.bridge for one in networks if one and one.bridge]


def _neighbours(keys: set[str], guest: Guest | None, containers: Sequence[Container]) -> list[str]:
    """The ways in the order in which they are drawn: by interface number, but those that share containers together."""
    links = guest.space.links if guest else ()
    index = {link.name: link.index for link in links}
    late = {"own": 1, "none": 2}
    left = sorted(keys, key=lambda key: (late.get(key, 0), index.get(key, 0), key))
    shared = Counter(pair for one in containers for pair in permutations(set(_bridges(guest, one)), 2))
    ordered: list[str] = []
    while left:
        last = ordered[-1] if ordered else ""
        best = max(left, key=lambda key: shared[last, key])
        ordered.append(best)
        left.remove(best)
    return ordered


def _area(
    machine: Machine,
    key: str,
    order: list[str],
    found: dict[tuple[str, str], tuple[Container | None, list[Chain]]],
) -> Area:
    guest, at = machine.guest, order.index(key)
    itself = "not seen" if guest is None else "the guest itself" if key == "own" else "unknown"
    places = []
    for (way, _), (container, chains) in found.items():
        if way != key:
            continue
        others = [
            other
            for other in (_bridges(guest, container) if container and container.state not in ENDED else ())
            if other in order and other != key and (other, container.id if container else "") not in found
        ]
        above = tuple(one for one in others if order.index(one) < at)
        below = tuple(one for one in others if order.index(one) > at)
        rows = tuple(sorted(chains, key=lambda chain: _row_order(machine, chain)))
        places.append(Place(container.name if container else itself, container, rows, above, below))
    places.sort(key=_place_order)
    kind = key if key in ("own", "none") else "bridge"
    link = guest.space.link_named(key) if guest and kind == "bridge" else None
    network = next((one for one in guest.networks if one.bridge == key), None) if guest and kind == "bridge" else None
    return Area(kind, key, tuple(places), link, network)


def _row_order(machine: Machine, chain: Chain) -> tuple[object, ...]:
    """Chains with the same end, rule and guest listener are together."""
    inside = inside_port(machine, chain)[1:]
    listen, _, port = chain.listen.rpartition(":")
    return (int(inside) if inside.isdigit() else 0, chain.protocol, chain.target, int(port or 0), listen)


def _place_order(place: Place) -> tuple[object, ...]:
    """Containers that are in the network above first, those in the one below last; what does not run before those."""
    ended = place.container is not None and place.container.state in ENDED
    return (bool(place.below), not place.above, ended, not place.chains, place.name)
