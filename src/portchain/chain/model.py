"""What was seen of a machine at one moment, each thing where it is: on the host, in the guest, inside containers.

Addresses are numeric; an empty one is the wildcard of both families. Names and texts that come from the guest are not
trusted: whoever prints or draws them escapes them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from ..mapping.forward import Endpoint
from .rules.model import RuleSet


@dataclass(frozen=True, order=True)
class Process:
    """A process: ``pid`` as its own side numbers it, ``command`` its name."""

    pid: int
    command: str


@dataclass(frozen=True)
class Listener:
    """A socket that takes what comes to ``at``, and who holds it; nobody where that cannot be seen."""

    at: Endpoint
    processes: tuple[Process, ...] = ()
    inode: int = 0


@dataclass(frozen=True)
class Link:
    """A network interface. ``master`` and ``peer`` are interface numbers: its bridge, a veth's other end.

    ``kind`` is veth, bridge, loopback or what ``ip -details link`` says. ``up`` is what it was told,
    ``carrier`` whether it can pass frames, ``route_localnet`` whether 127.0.0.0/8 may leave and come by it.
    ``addresses`` are in CIDR notation. Counters are packets and bytes.
    """

    index: int
    name: str
    kind: str = ""
    master: int = 0
    peer: int = 0
    up: bool = True
    carrier: bool = True
    route_localnet: bool = True
    mtu: int = 1500
    mac: str = ""
    addresses: tuple[str, ...] = ()
    received_packets: int = 0
    received_bytes: int = 0
    sent_packets: int = 0
    sent_bytes: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class Route:
    """A route: ``kind`` is unicast, local, broadcast, unreachable, …; ``destination`` in CIDR notation."""

    destination: str
    device: str
    kind: str = "unicast"
    gateway: str = ""
    source: str = ""
    metric: int = 0


@dataclass(frozen=True)
class Flow:
    """A conntrack entry: where its first packet went, and where the answer comes from after translation."""

    protocol: str
    state: str
    source: Endpoint
    destination: Endpoint
    reply_source: Endpoint
    reply_destination: Endpoint
    replied: bool = True


@dataclass(frozen=True)
class Space:
    """A network namespace: links, routes, listeners and packet filter rules. ``inode`` is the namespace's number."""

    inode: int = 0
    links: tuple[Link, ...] = ()
    routes: tuple[Route, ...] = ()
    listeners: tuple[Listener, ...] = ()
    rules: RuleSet = field(default_factory=RuleSet)
    ip_forward: bool = True

    def link(self, index: int) -> Link | None:
        """By interface number."""
        return next((link for link in self.links if link.index == index), None)

    def link_named(self, name: str) -> Link | None:
        """By name."""
        return next((link for link in self.links if link.name == name), None)

    def has_address(self, address: str) -> bool:
        """Whether it is one of the namespace's own, all of 127.0.0.0/8 among them."""
        return (found := self.route(address)) is not None and found.kind == "local"

    def route(self, address: str) -> Route | None:
        """The route to an address: own addresses first, then the longest prefix, then the least metric."""
        wanted = _address(address)
        found = [one for one in self.routes if wanted in _network(one.destination)]
        return min(
            found,
            key=lambda one: (one.kind != "local", -_network(one.destination).prefixlen, one.metric),
            default=None,
        )

    def listening(self, at: Endpoint) -> list[Listener]:
        """The sockets that would take what is sent to ``at``, the most specific first."""
        family = ipaddress.ip_address(at.address).version if at.address else 0
        found = [
            one
            for one in self.listeners
            if (one.at.protocol, one.at.port) == (at.protocol, at.port) and _takes(one.at.address, at.address, family)
        ]
        return sorted(found, key=lambda one: one.at.address in ("", "0.0.0.0", "::"))


_address = lru_cache(ipaddress.ip_address)
_network = lru_cache(ipaddress.ip_network)


def _takes(listening: str, address: str, family: int) -> bool:
    if not listening or not address:
        return True
    wildcard = {4: "0.0.0.0", 6: "::"}[family]
    return listening in (address, wildcard)


@dataclass(frozen=True)
class Publication:
    """What a container wants on the host: ``host`` its endpoint there, ``None`` where any port will do."""

    container_port: int
    protocol: str
    host: Endpoint | None
    guest: Endpoint | None


@dataclass(frozen=True)
class Attachment:
    """A container's place in a network. ``address`` and ``address6`` are without prefix, empty for none."""

    network: str
    network_id: str
    address: str = ""
    address6: str = ""
    mac: str = ""
    gateway: str = ""


@dataclass(frozen=True)
class Container:
    """A container of the engine. ``state`` is the engine's word: running, exited, created, paused, restarting, dead.

    ``wanted`` is what its labels say was asked for, running or not. ``bound`` are the guest's endpoints that the engine
    leads to it now, with the container's port. ``space`` is its namespace, where it was looked into.
    """

    id: str
    name: str
    image: str = ""
    state: str = "running"
    status: str = ""
    exit_code: int = 0
    pid: int = 0
    network_mode: str = ""
    attachments: tuple[Attachment, ...] = ()
    wanted: tuple[Publication, ...] = ()
    bound: tuple[tuple[Endpoint, int], ...] = ()
    space: Space | None = None

    def has_address(self, address: str) -> bool:
        """Whether a network gave it the address."""
        return any(address in (one.address, one.address6) for one in self.attachments)


@dataclass(frozen=True)
class Network:
    """A network of the engine; ``bridge`` is its interface's name, empty where it has none."""

    id: str
    name: str
    driver: str
    bridge: str = ""
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    internal: bool = False


@dataclass(frozen=True)
class Service:
    """A service of the guest and how it is: running, restarting, ended, failed or crashing."""

    name: str
    state: str
    pid: int = 0


@dataclass(frozen=True)
class Guest:
    """The guest as it told of itself at ``time`` (seconds since the epoch). ``problems``: what it could not tell."""

    time: float
    space: Space
    containers: tuple[Container, ...] = ()
    networks: tuple[Network, ...] = ()
    services: tuple[Service, ...] = ()
    flows: tuple[Flow, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def silence(self) -> str:
        """Why it told of no containers, where that is not because it has none."""
        return "" if self.containers else next(iter(self.problems), "")

    def container(self, name: str) -> Container | None:
        """By name, id or an id's beginning."""
        for one in self.containers:
            if name in (one.name, one.id):
                return one
        return next((one for one in self.containers if name and one.id.startswith(name)), None)

    def container_at(self, address: str) -> Container | None:
        """The container, running if one is, that a network gave the address."""
        found = [one for one in self.containers if one.has_address(address)]
        return min(found, key=lambda one: one.state != "running", default=None)

    def network(self, name: str) -> Network | None:
        """By name or id."""
        return next((one for one in self.networks if name in (one.name, one.id)), None)


@dataclass(frozen=True)
class HostForward:
    """A forward as the forwarder lists it. ``origin`` is system, declared, manual, container or host-network.

    ``state`` is listening, waiting or failed; counters are connections and bytes from and to clients.
    """

    listen: Endpoint
    target: Endpoint
    origin: str
    owner: str
    state: str
    proxy_protocol: str = ""
    connections: int = 0
    active: int = 0
    received: int = 0
    sent: int = 0
    dropped: int = 0
    error: str = ""


@dataclass(frozen=True)
class Forwarder:
    """The daemon on the host. ``channel_pid`` is the guest's vpnkit-forwarder on the host, 0 while it is away.

    ``binds`` are the rules of ``host_forwarder_bind``: what may be bound at all.
    """

    pid: int
    channel_pid: int = 0
    started: float = 0.0
    binds: tuple[str, ...] = ()
    forwards: tuple[HostForward, ...] = ()


@dataclass(frozen=True)
class Host:
    """The host's side of one guest. ``guest_state`` is running, starting, stopped or absent.

    Without ``forwarder``, ``forwarder_error`` says why it did not answer. ``listeners`` are the host's own sockets on
    the ports that were asked about, or that forwards have.
    """

    guest: str
    guest_state: str
    forwarder: Forwarder | None
    forwarder_error: str = ""
    listeners: tuple[Listener, ...] = ()


@dataclass(frozen=True)
class Machine:
    """Both sides at one moment. Without ``guest``, ``guest_error`` says why it did not tell."""

    host: Host
    guest: Guest | None
    guest_error: str = ""

    @property
    def forwards(self) -> tuple[HostForward, ...]:
        """All that lead into the guest, the guest's own sockets among them."""
        return self.host.forwarder.forwards if self.host.forwarder else ()

    def published(self) -> Iterator[HostForward]:
        """The forwards of TCP and UDP ports that are not the guest's own sockets."""
        return (one for one in self.forwards if one.origin != "system" and one.listen.protocol != "unix")


def names(processes: Iterable[Process]) -> str:
    """For people: ``nginx (pid 1328), nginx (pid 1387)``."""
    return ", ".join(f"{one.command} (pid {one.pid})" for one in processes)
