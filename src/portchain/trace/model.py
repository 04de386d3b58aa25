"""The state of a machine at one moment: of the host, the guest and the containers.

Addresses are numeric; an empty one is the wildcard of both families. Names and texts that come from the guest are not
trusted: whoever prints or draws them escapes them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from ..ports.forward import Endpoint
from .rules.filter_rules import RuleSet


@dataclass(frozen=True, order=True)
class Process:
    """A process: ``pid`` as its own side numbers it, ``command`` its name."""

    pid: int
    command: str


@dataclass(frozen=True)
class Listener:
    """A listening socket and the processes that hold it, as far as they can be seen.

    ``at`` is where it listens. ``proxied`` is the container's endpoint to which the engine's docker-proxy, if that
    holds the socket, leads.
    """

    at: Endpoint
    processes: tuple[Process, ...] = ()
    inode: int = 0
    proxied: Endpoint | None = None


@dataclass(frozen=True)
class Link:
    """A network interface.

    ``master`` and ``peer`` are interface numbers: of its bridge, and of a veth's other end. ``kind`` is veth, bridge,
    loopback or what ``ip -details link`` says. ``up`` is its setting, ``carrier`` whether it can pass frames,
    ``route_localnet`` whether packets of 127.0.0.0/8 may leave and enter by it. ``addresses`` are in CIDR notation.
    Counters are packets and bytes.
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
    """A route: ``kind`` is unicast, local, broadcast, unreachable, …; ``destination`` is in CIDR notation."""

    destination: str
    device: str
    kind: str = "unicast"
    gateway: str = ""
    source: str = ""
    metric: int = 0


@dataclass(frozen=True)
class Flow:
    """A conntrack entry: where its first packet went, and where the answer comes from after translation.

    ``silent`` is for how many seconds no packet has come; it is known for UDP alone, and only if the kernel has its
    default timeouts.
    """

    protocol: str
    state: str
    source: Endpoint
    destination: Endpoint
    reply_source: Endpoint
    reply_destination: Endpoint
    replied: bool = True
    silent: float = 0.0


@dataclass(frozen=True)
class NetworkNamespace:
    """A network namespace: links, routes, listeners and packet filter rules; ``inode`` is its number."""

    inode: int = 0
    links: tuple[Link, ...] = ()
    routes: tuple[Route, ...] = ()
    listeners: tuple[Listener, ...] = ()
    rules: RuleSet = field(default_factory=RuleSet)
    ip_forward: bool = True

    def link(self, index: int) -> Link | None:
        """Return the link with an interface number."""
        return next((link for link in self.links if link.index == index), None)

    def link_named(self, name: str) -> Link | None:
        """Return the link with a name."""
        return next((link for link in self.links if link.name == name), None)

    def has_address(self, address: str) -> bool:
        """Tell whether an address is one of the namespace's own, all of 127.0.0.0/8 among them."""
        return (route := self.route(address)) is not None and route.kind == "local"

    def route(self, address: str) -> Route | None:
        """Return the route to an address: own addresses first, then the longest prefix, then the least metric."""
        parsed = _address(address)
        routes = [route for route in self.routes if parsed in _network(route.destination)]
        return min(
            routes,
            key=lambda route: (route.kind != "local", -_network(route.destination).prefixlen, route.metric),
            default=None,
        )

    def source(self, address: str) -> str:
        """Return the source address of what is sent to ``address``; a loopback address where that is unknown."""
        parsed, route = _address(address), self.route(address)
        link = self.link_named(route.device) if route else None
        on_link = [
            interface
            for interface in map(ipaddress.ip_interface, link.addresses if link else ())
            if parsed in interface.network
        ]
        own = route.source if route else ""
        return own or (str(on_link[0].ip) if on_link else "127.0.0.1" if parsed.version == 4 else "::1")

    def listening(self, at: Endpoint) -> list[Listener]:
        """Return the sockets that would take what is sent to ``at``, the most specific first."""
        family = ipaddress.ip_address(at.address).version if at.address else 0
        listeners = [
            listener
            for listener in self.listeners
            if (listener.at.protocol, listener.at.port) == (at.protocol, at.port)
            and _takes(listener.at.address, at.address, family)
        ]
        return sorted(listeners, key=lambda listener: listener.at.address in ("", "0.0.0.0", "::"))


_address = lru_cache(ipaddress.ip_address)
_network = lru_cache(ipaddress.ip_network)


def _takes(listen_address: str, address: str, family: int) -> bool:
    if not listen_address or not address:
        return True
    wildcard = {4: "0.0.0.0", 6: "::"}[family]
    return listen_address in (address, wildcard)


@dataclass(frozen=True)
class WantedPublication:
    """A port that a container wants on the host: ``host`` is its endpoint there, None where any port will do."""

    container_port: int
    protocol: str
    host: Endpoint | None
    guest: Endpoint | None

    def __str__(self) -> str:
        """Return it as docker ps has it: ``*:8080->80/tcp``; ``80/tcp`` where any port will do."""
        host = f"{self.host.display()}->" if self.host else ""
        return f"{host}{self.container_port}/{self.protocol}"


@dataclass(frozen=True)
class Attachment:
    """A container's connection to a network; ``address`` and ``address6`` have no prefix and are empty for none."""

    network: str
    network_id: str
    address: str = ""
    address6: str = ""
    mac: str = ""
    gateway: str = ""


@dataclass(frozen=True)
class Container:
    """A container of the engine.

    ``state`` is the engine's word: running, exited, created, paused, restarting, removing or dead. ``wanted`` is what
    clients asked for, whether it runs or not. ``bound`` are the guest's endpoints that the engine leads to it now,
    each with the container's port. ``space`` is its network namespace, if that was read.
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
    wanted: tuple[WantedPublication, ...] = ()
    bound: tuple[tuple[Endpoint, int], ...] = ()
    space: NetworkNamespace | None = None

    def has_address(self, address: str) -> bool:
        """Tell whether one of its networks gave the container this address."""
        return any(address in (attachment.address, attachment.address6) for attachment in self.attachments)


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
    """A service of the guest; ``state`` is running, restarting, ended, failed or crashing."""

    name: str
    state: str
    pid: int = 0


@dataclass(frozen=True)
class Guest:
    """The guest as it described itself at ``time`` (seconds since the epoch); ``problems``: what it could not read."""

    time: float
    space: NetworkNamespace
    containers: tuple[Container, ...] = ()
    networks: tuple[Network, ...] = ()
    services: tuple[Service, ...] = ()
    flows: tuple[Flow, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def no_containers_reason(self) -> str:
        """Why the guest described no containers; empty where it did, or has none."""
        return "" if self.containers else next(iter(self.problems), "")

    def container(self, name: str) -> Container | None:
        """Return the container with a name, an id or an id's beginning."""
        for container in self.containers:
            if name in (container.name, container.id):
                return container
        return next((container for container in self.containers if name and container.id.startswith(name)), None)

    def container_at(self, address: str) -> Container | None:
        """Return the container, preferably a running one, that a network gave the address."""
        containers = [container for container in self.containers if container.has_address(address)]
        return min(containers, key=lambda container: container.state != "running", default=None)

    def network(self, name: str) -> Network | None:
        """Return the network with a name or id."""
        return next((network for network in self.networks if name in (network.name, network.id)), None)


@dataclass(frozen=True)
class HostForward:
    """A forward as the forwarder lists it.

    ``origin`` is system, declared, manual, container or host-network. ``state`` is listening, waiting or failed.
    Counters are connections and bytes from and to clients.
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
    """The daemon on the host.

    ``relay_pid`` is the guest's relay on the host, which accepts the clients, and ``channel_pid`` the guest's
    vpnkit-forwarder as the host numbers it; each is 0 while it is not connected. ``binds`` are the rules of
    ``host_forwarder_bind``: which addresses and ports may be bound.
    """

    pid: int
    relay_pid: int = 0
    channel_pid: int = 0
    started: float = 0.0
    binds: tuple[str, ...] = ()
    forwards: tuple[HostForward, ...] = ()


@dataclass(frozen=True)
class Host:
    """The host's side of one guest.

    ``guest_state`` is running, starting, stopped or absent. ``forwarder`` is None where it did not answer;
    ``forwarder_error`` then says why. ``listeners`` are the host's own sockets on the ports of forwards and on those
    that were asked about.
    """

    guest: str
    guest_state: str
    forwarder: Forwarder | None
    forwarder_error: str = ""
    listeners: tuple[Listener, ...] = ()


@dataclass(frozen=True)
class Machine:
    """The host and the guest at one moment; ``guest_error`` says why ``guest`` is None."""

    host: Host
    guest: Guest | None
    guest_error: str = ""

    @property
    def forwards(self) -> tuple[HostForward, ...]:
        """All forwards into the guest, those to sockets of the guest's services included."""
        return self.host.forwarder.forwards if self.host.forwarder else ()

    def published(self) -> Iterator[HostForward]:
        """Return the forwards of TCP and UDP ports, without those that the guest's services use."""
        return (
            forward for forward in self.forwards if forward.origin != "system" and forward.listen.protocol != "unix"
        )


def format_processes(processes: Iterable[Process]) -> str:
    """Return processes for people: ``nginx (pid 1328), nginx (pid 1387)``."""
    return ", ".join(f"{process.command} (pid {process.pid})" for process in processes)
