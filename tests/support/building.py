"""Builds a machine as it would be seen, from a few words a container."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from portchain.ports.forward import Endpoint
from portchain.trace.model import (
    Attachment,
    Container,
    Forwarder,
    Guest,
    Host,
    HostForward,
    Link,
    Listener,
    Machine,
    Network,
    NetworkNamespace,
    Process,
    Route,
    Service,
    WantedPublication,
)
from portchain.trace.parse import iptables

ENGINE = Process(1668, "dockerd")
FORWARDER = (Process(1154, "forwarder"), Process(1155, "relay"))
LOOPBACK = Link(1, "lo", "loopback", mtu=65536, addresses=("127.0.0.1/8", "::1/128"))
LOCAL = (Route("127.0.0.0/8", "lo", "local", source="127.0.0.1"), Route("::1/128", "lo", "local", source="::1"))
SERVICES = [
    "acpid",
    "allowlist",
    "binfmt",
    "devenv-service",
    "dhcpcd",
    "diagnose",
    "dns-forwarder",
    "docker",
    "http-proxy",
    "kmsg",
    "sntpc",
    "socks",
    "trim-after-delete",
    "volume-contents",
    "vpnkit-forwarder",
]


@dataclass(frozen=True)
class Net:
    """A network: ``prefix`` is the first three numbers of its addresses."""

    name: str
    bridge: str
    prefix: str
    length: int = 24

    @property
    def id(self) -> str:
        """Its whole id."""
        return identity(f"network {self.name}")


@dataclass(frozen=True)
class Box:
    """A container: ``ports`` are host port, guest port, container port and protocol; ``networks`` Net's names.

    ``serves`` is the command that listens. Without networks it has the guest's own (``host``) or none.
    """

    name: str
    networks: tuple[str, ...] = ()
    ports: tuple[tuple[int, int, int, str], ...] = ()
    serves: str = "server"
    image: str = "image"
    state: str = "running"
    host: bool = False


def identity(name: str) -> str:
    """64 hexadecimal digits that are always the same."""
    return sha256(name.encode()).hexdigest()


class Builder:
    """Puts a machine together; interface numbers and pids count up as they would."""

    def __init__(self, nets: Sequence[Net], boxes: Sequence[Box]) -> None:
        self.nets = {one.name: one for one in nets}
        self.boxes = boxes
        self.links = [
            LOOPBACK,
            Link(2, "eth0", "veth", peer=3, mac="02:50:00:00:00:01", addresses=("192.168.65.3/24",)),
        ]
        self.index = 6
        self.places = dict.fromkeys(self.nets, 1)
        self.rules: list[str] = []
        self.listeners: list[Listener] = [Listener(Endpoint("tcp", "127.0.0.1", 1080), (Process(768, "microsocks"),))]
        self.forwards: list[HostForward] = []
        for one in nets:
            self.index += 1
            address = f"{one.prefix}.1/{one.length}"
            self.links.append(
                Link(self.index, one.bridge, "bridge", addresses=(address,), sent_packets=self.index * 31)
            )

    def machine(self, *more: HostForward) -> Machine:
        """All of it."""
        containers = tuple(self._container(number, box) for number, box in enumerate(self.boxes))
        networks = tuple(
            Network(one.id, one.name, "bridge", one.bridge, (f"{one.prefix}.0/{one.length}",), (f"{one.prefix}.1",))
            for one in self.nets.values()
        )
        fixed = (Network(identity("host"), "host", "host"), Network(identity("none"), "none", "null"))
        rules = iptables.parse(self._iptables())
        space = NetworkNamespace(4026532301, tuple(self.links), tuple(self._routes()), tuple(self.listeners), rules)
        services = tuple(Service(name, "running", 700 + 20 * number) for number, name in enumerate(SERVICES))
        guest = Guest(1_700_000_000.0, space, containers, networks + fixed, services)
        forwards = tuple(sorted((*self.forwards, *more), key=lambda one: (one.listen.port, one.listen.protocol)))
        daemon = Forwarder(1154, 1155, 1290, 1_699_990_000.0, ("*:1024-65535",), forwards)
        held = tuple(Listener(one.listen, FORWARDER) for one in forwards)
        return Machine(Host("linuxkit", "running", daemon, listeners=held), guest)

    def _routes(self) -> Iterator[Route]:
        yield from LOCAL
        yield Route("192.168.65.3/32", "eth0", "local", source="192.168.65.3")
        for one in self.nets.values():
            yield Route(f"{one.prefix}.1/32", one.bridge, "local", source=f"{one.prefix}.1")
            yield Route(f"{one.prefix}.0/{one.length}", one.bridge, source=f"{one.prefix}.1")
        yield Route("0.0.0.0/0", "eth0", gateway="192.168.65.2")

    def _iptables(self) -> str:
        nat = "\n".join(self.rules)
        return (
            "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
            "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"
            ":DOCKER - [0:0]\n[0:0] -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n"
            "[70:4200] -A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER\n"
            f"[70:4200] -A POSTROUTING -m addrtype --src-type LOCAL -j MASQUERADE\n{nat}\nCOMMIT\n"
        )

    def _container(self, number: int, box: Box) -> Container:
        pid = 2100 + 37 * number
        attachments = tuple(self._attach(name, box) for name in box.networks)
        mine = LOOPBACK, *(self._pair(*pair) for pair in enumerate(attachments) if box.state == "running")
        wanted, bound = [], []
        for host, guest, inside, protocol in box.ports:
            listen, target = Endpoint(protocol, "", host), Endpoint(protocol, "127.0.0.1", guest)
            if guest == host:
                target = Endpoint(protocol, "0.0.0.0", guest)
            wanted.append(WantedPublication(inside, protocol, listen, target))
            if box.state == "running":
                self._publish(box, attachments, listen, target, inside)
                bound.append((target, inside))
        inside_ports = dict.fromkeys((inside, protocol) for _, _, inside, protocol in box.ports)
        serving = tuple(
            Listener(Endpoint(protocol, "0.0.0.0", inside), (Process(pid, box.serves),))
            for inside, protocol in inside_ports
        )
        if box.host:
            self.listeners += serving
        space = NetworkNamespace(4026532400 + number, mine, tuple(_inner_routes(attachments)), serving)
        return Container(
            id=identity(box.name),
            name=box.name,
            image=box.image,
            state=box.state,
            status="Up 5 hours" if box.state == "running" else "Exited (137) 2 hours ago",
            exit_code=0 if box.state == "running" else 137,
            pid=pid if box.state == "running" else 0,
            network_mode="host" if box.host else box.networks[0] if box.networks else "none",
            attachments=attachments,
            wanted=() if box.host else tuple(wanted),
            bound=() if box.host else tuple(bound),
            space=None if box.host or box.state != "running" else space,
        )

    def _attach(self, name: str, box: Box) -> Attachment:
        net = self.nets[name]
        self.places[name] += 1
        place = self.places[name]
        numbers = "".join(f":{int(n):02x}" for n in f"{net.prefix}.{place}".split("."))
        address = f"{net.prefix}.{place}" if box.state == "running" else ""
        return Attachment(name, net.id, address, "", f"02:42{numbers}", f"{net.prefix}.1")

    def _pair(self, number: int, one: Attachment) -> Link:
        """Both ends of a veth pair: the guest's is kept, the container's returned."""
        net = self.nets[one.network]
        self.index += 2
        outer, inner = self.index, self.index - 1
        bridge = next(link.index for link in self.links if link.name == net.bridge)
        name = f"veth{identity(one.mac)[:7]}"
        self.links.append(Link(outer, name, "veth", master=bridge, peer=inner, sent_packets=14 * outer))
        return Link(inner, f"eth{number}", "veth", peer=outer, mac=one.mac, addresses=(f"{one.address}/{net.length}",))

    def _publish(
        self, box: Box, attachments: tuple[Attachment, ...], listen: Endpoint, target: Endpoint, inside: int
    ) -> None:
        protocol, origin = listen.protocol, "host-network" if box.host else "container"
        reached = Endpoint(protocol, "127.0.0.1", target.port)
        count = 3 + listen.port % 40
        made = HostForward(
            listen, reached, origin, box.name, "listening", "", count, listen.port % 3, count * 78, 41000
        )
        self.forwards.append(made)
        if box.host:
            return
        self.listeners.append(Listener(target, (ENGINE,)))
        where = "" if target.address == "0.0.0.0" else f"-d {target.address}/32 "
        to = f"{attachments[0].address}:{inside}"
        self.rules.append(
            f"[{count}:{60 * count}] -A DOCKER {where}-p {protocol} -m {protocol} --dport {target.port} "
            f"-j DNAT --to-destination {to}"
        )


def _inner_routes(attachments: tuple[Attachment, ...]) -> Iterator[Route]:
    yield from LOCAL
    for number, one in enumerate(attachments):
        if one.address:
            yield Route(f"{one.address}/32", f"eth{number}", "local", source=one.address)
    if attachments and attachments[0].address:
        yield Route("0.0.0.0/0", "eth0", gateway=attachments[0].gateway)
