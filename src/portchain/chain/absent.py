"""Why there is no chain at all from a port. Pure."""

from __future__ import annotations

from dataclasses import replace

from ..mapping.forward import Endpoint
from ..mapping.policy import BindRule, Policy, PolicyError
from .hops import host
from .hops.container import not_running
from .hops.way import Finding, broken, ok
from .model import Container, Machine, Publication, names
from .query import Query
from .trace import KINDS, Chain, skipped

MAX_MISSING = 100


def missing(machine: Machine) -> list[Query]:
    """What containers that run publish, and nothing forwards."""
    there = list(machine.published())
    wanted = {
        Query(one.host.port, one.host.protocol, one.host.address)
        for container in (machine.guest.containers if machine.guest else ())
        if container.state == "running"
        for one in container.wanted
        if one.host
    }
    lost = [query for query in wanted if not any(query.asks_for(one.listen) for one in there)]
    return sorted(lost, key=lambda one: (one.port, one.protocol, one.address))[:MAX_MISSING]


def absent(machine: Machine, query: Query) -> Chain:
    """A chain that ends where it should begin, with the reason."""
    found = _reason(machine, query)
    at = KINDS.index(found.hop.kind)
    before = (_host_socket(machine, query).hop,) if at else ()
    beyond = (skipped(kind) for kind in KINDS[at + 1 :])
    listen = _listen(query)
    owner = next((one.name for one, _ in _wanting(machine, query)), "")
    return Chain(listen.place, "", listen.protocol, owner, (*before, found.hop, *beyond), found.verdict)


def _listen(query: Query) -> Endpoint:
    return Endpoint(query.protocol or "tcp", query.address, query.port)


def _host_socket(machine: Machine, query: Query) -> Finding:
    listen = _listen(query)
    held = names(p for one in host.listeners(machine, listen) for p in one.processes)
    return ok("host-socket", "host", host.shown(listen), f"held by {held}" if held else "nobody listens")


def _reason(machine: Machine, query: Query) -> Finding:
    forward = ok("forward", "host", f"{host.shown(_listen(query))} → nowhere", "")
    if machine.host.forwarder is None:
        return host.forwarder_down(forward, machine)
    if machine.host.guest_state != "running":
        return host.guest_down(forward, machine.host.guest, machine.host.guest_state)
    if machine.guest is None and not machine.host.forwarder.channel_pid:
        return host.channel_down(forward, machine.host.guest)
    return (
        _other_address(machine, query)
        or _wanted(machine, query, forward)
        or _other_protocol(machine, query, forward)
        or _nothing(machine, query, forward)
    )


def _other_address(machine: Machine, query: Query) -> Finding | None:
    """The port is forwarded, but not from the address that was asked about."""
    anywhere = replace(query, address="")
    for one in machine.published():
        if anywhere.asks_for(one.listen) and query.address:
            seen, there = _host_socket(machine, query), host.shown(one.listen)
            other_family = (":" in one.listen.address) != (":" in query.address)
            code = "ipv6-half" if other_family else "other-address"
            text = f"the host listens for port {query.port} on {there}, not on {query.address}"
            remedy = f"connect to {there}, or publish the port without an address: -p {query.port}:…"
            return broken(seen, code, text, remedy)
    return None


def _other_protocol(machine: Machine, query: Query, seen: Finding) -> Finding | None:
    """Only the other protocol is forwarded, or wanted."""
    if not query.protocol:
        return None
    other = "udp" if query.protocol == "tcp" else "tcp"
    asked = replace(query, protocol=other)
    forwards = [one.owner for one in machine.published() if asked.asks_for(one.listen)]
    wanted = [one.name for one, _ in _wanting(machine, asked)]
    if not forwards and not wanted:
        return None
    owners = ", ".join(forwards or wanted)
    text = f"port {query.port} is published by {owners} for {other} only, not for {query.protocol}"
    return broken(seen, "wrong-protocol", text, f"docker run -p {query.port}:…/{query.protocol}")


def _wanting(machine: Machine, query: Query) -> list[tuple[Container, Publication]]:
    """The containers, running or not, that publish the port."""
    containers = machine.guest.containers if machine.guest else ()
    return [
        (one, publication)
        for one in containers
        for publication in one.wanted
        if publication.host and query.asks_for(publication.host)
    ]


def _wanted(machine: Machine, query: Query, forward: Finding) -> Finding | None:
    """A container publishes the port, and yet it is not forwarded."""
    wanting = sorted(_wanting(machine, query), key=lambda pair: pair[0].state != "running")
    if not wanting:
        return None
    one, publication = wanting[0]
    listen = publication.host or _listen(query)
    daemon = machine.host.forwarder
    refusal = _refusal(daemon.binds if daemon else (), listen)
    if refusal:
        remedy = "add what is missing to host_forwarder_bind in the inventory and run site.yml"
        return broken(forward, "policy-refused", f"container {one.name}: {refusal}", remedy)
    held = names(p for sock in host.listeners(machine, listen) for p in sock.processes)
    if held:
        return host.port_taken(_host_socket(machine, query), listen, held)
    title = ok("container", "container", one.name, one.status, id=one.id, name=one.name, state=one.state)
    stopped = not_running(one, title)
    if stopped:
        return stopped
    if not any(a.address or a.address6 for a in one.attachments) and one.network_mode != "host":
        text = f"container {one.name} runs without a network, so that nothing leads to it"
        bridge = ok("bridge", "guest", "no network", "")
        return broken(bridge, "network-disconnected", text, f"docker network connect bridge {one.name}")
    text = f"container {one.name} publishes {host.shown(listen)}, and the forwarder does not know of it"
    return broken(forward, "forward-missing", text, f"docker restart {one.name}")


def _refusal(binds: tuple[str, ...], listen: Endpoint) -> str:
    if not binds:
        return ""
    try:
        Policy(tuple(map(BindRule.parse, binds))).check(listen)
    except PolicyError as error:
        return str(error).partition(";")[0]
    except ValueError:
        return ""
    return ""


def _nothing(machine: Machine, query: Query, seen: Finding) -> Finding:
    if machine.guest is None or machine.guest.silence:
        text = f"nothing is forwarded from port {query.port}, and the guest did not tell of its containers"
        silence = machine.guest.silence if machine.guest else machine.guest_error
        return broken(seen, "nothing-published", f"{text}: {silence}", "portchain status")
    held = names(p for one in host.listeners(machine, _listen(query)) for p in one.processes)
    text = f"no container publishes port {query.port} and no forward was made by hand"
    if held:
        text += f"; what answers there is the host's own {held}"
    inside = [
        one.name
        for one in machine.guest.containers
        if one.space and any(sock.at.port == query.port for sock in one.space.listeners)
    ]
    remedy = f"docker run -p {query.port}:{query.port} …, or portchain forward add :{query.port} 127.0.0.1:PORT"
    if inside:
        remedy = f"{inside[0]} listens on it inside, unpublished: docker run -p {query.port}:{query.port} …"
    return broken(seen, "nothing-published", text, remedy)
