"""A machine with one container, web, that serves the host's port 8080 on port 80, to be broken in tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

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
    WantedPublication,
)
from portchain.trace.parse import iptables

RULES = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
[0:0] -A FORWARD -o docker0 -j DOCKER
[0:0] -A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
[0:0] -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
[7:420] -A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER
[3:160] -A POSTROUTING -o docker0 -m addrtype --src-type LOCAL -j MASQUERADE
[2:120] -A DOCKER -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
"""
DNAT = "[2:120] -A DOCKER -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\n"
LOOPBACK = Link(1, "lo", "loopback", mtu=65536, addresses=("127.0.0.1/8", "::1/128"))
LOCAL = (Route("127.0.0.0/8", "lo", "local", source="127.0.0.1"), Route("::1/128", "lo", "local", source="::1"))
PORT = Endpoint("tcp", "", 8080)


def endpoint(text: str) -> Endpoint:
    """``tcp:127.0.0.1:80``."""
    return Endpoint.parse(text)


def guest_space(rules: str = RULES, **words: Any) -> NetworkNamespace:
    """The guest's own namespace."""
    links = (
        LOOPBACK,
        Link(3, "docker0", "bridge", addresses=("172.17.0.1/16",)),
        Link(6, "veth1", "veth", master=3, peer=5),
    )
    routes = (
        *LOCAL,
        Route("172.17.0.1/32", "docker0", "local", source="172.17.0.1"),
        Route("172.17.0.0/16", "docker0", source="172.17.0.1"),
    )
    listeners = (
        Listener(endpoint("tcp:0.0.0.0:8080"), (Process(846, "dockerd"),)),
        Listener(endpoint("tcp:127.0.0.1:1080"), (Process(768, "microsocks"),)),
    )
    made = NetworkNamespace(40, links, routes, listeners, iptables.parse(rules))
    return replace(made, **words)


def container_space(listen: str = "tcp:0.0.0.0:80", **words: Any) -> NetworkNamespace:
    """The container's namespace, where one process listens."""
    links = (LOOPBACK, Link(5, "eth0", "veth", peer=6, addresses=("172.17.0.2/16",)))
    routes = (
        *LOCAL,
        Route("172.17.0.2/32", "eth0", "local", source="172.17.0.2"),
        Route("172.17.0.0/16", "eth0", source="172.17.0.2"),
        Route("0.0.0.0/0", "eth0", gateway="172.17.0.1"),
    )
    listeners = (Listener(endpoint(listen), (Process(1328, "nginx"),)),)
    return replace(NetworkNamespace(50, links, routes, listeners), **words)


def web(**words: Any) -> Container:
    """The container."""
    made = Container(
        id="a" * 64,
        name="web",
        image="nginx",
        state="running",
        status="Up 3 minutes",
        pid=1328,
        network_mode="default",
        attachments=(Attachment("bridge", "n" * 64, "172.17.0.2", "", "02:42:ac:11:00:02", "172.17.0.1"),),
        wanted=(WantedPublication(80, "tcp", PORT, endpoint("tcp:0.0.0.0:8080")),),
        bound=((endpoint("tcp:0.0.0.0:8080"), 80),),
        space=container_space(),
    )
    return replace(made, **words)


def forward(**words: Any) -> HostForward:
    """The forward to it."""
    made = HostForward(PORT, endpoint("tcp:127.0.0.1:8080"), "container", "web", "listening", connections=2)
    return replace(made, **words)


def machine(
    *,
    space: NetworkNamespace | None = None,
    containers: tuple[Container, ...] | None = None,
    forwards: tuple[HostForward, ...] | None = None,
    host: dict[str, Any] | None = None,
    forwarder: dict[str, Any] | None = None,
) -> Machine:
    """All of it."""
    guest = Guest(
        time=1_700_000_000.0,
        space=space or guest_space(),
        containers=(web(),) if containers is None else containers,
        networks=(Network("n" * 64, "bridge", "bridge", "docker0", ("172.17.0.0/16",), ("172.17.0.1",)),),
    )
    daemon = Forwarder(
        100,
        relay_pid=150,
        channel_pid=200,
        binds=("*:1024-65535",),
        forwards=(forward(),) if forwards is None else forwards,
    )
    listeners = (Listener(PORT, (Process(100, "forwarder"), Process(150, "relay"))),)
    outside = Host("linuxkit", "running", replace(daemon, **(forwarder or {})), listeners=listeners)
    return Machine(replace(outside, **(host or {})), guest)
