"""The container and the listening socket in it."""

from __future__ import annotations

from dataclasses import replace

from ...mapping.forward import Endpoint
from ..model import Container, Listener, names
from ..rules import walk
from ..rules.model import Packet
from .way import Finding, Way, broken, listening, ok, unknown

# Kinds of routes that lead nowhere.
_NOWHERE = ("unreachable", "blackhole", "prohibit")
_STOPPED = ("exited", "created", "dead", "removing")


def container(way: Way) -> Finding | None:
    """The container that has the address, and its namespace."""
    if way.packet is None:
        return None
    found, goal = way.container, way.goal
    if found is None and (silence := way.guest.silence if way.guest else ""):
        return unknown("container", "container", goal.address, f"not looked at: {silence}")
    if found is None:
        seen = ok("container", "container", goal.address, "")
        text = f"no container has {goal.address}: the nat rule, or the forward's target, is out of date"
        return broken(seen, "container-unknown", text, "portchain engine restart, or correct the forward's target")
    seen = ok(
        "container",
        "container",
        found.name,
        f"{found.state}, pid {found.pid}" if found.pid else found.status or found.state,
        id=found.id,
        name=found.name,
        image=found.image,
        state=found.state,
        pid=found.pid,
        namespace=found.space.inode if found.space else 0,
        address=goal.address,
    )
    return not_running(found, seen) or seen


def not_running(found: Container, seen: Finding) -> Finding | None:
    """The verdict on a container that does not run; None on one that does."""
    if found.state in _STOPPED:
        ended = f", exit code {found.exit_code}" if found.state == "exited" else ""
        text = f"container {found.name} does not run: {found.state}{ended}"
        return broken(seen, "container-stopped", text, f"docker start {found.name}; docker logs {found.name}")
    if found.state == "paused":
        text = f"container {found.name} is paused: connections are taken, nobody answers"
        return broken(seen, "container-paused", text, f"docker unpause {found.name}")
    if found.state == "restarting":
        text = f"container {found.name} ends and is restarted, exit code {found.exit_code}"
        return broken(seen, "container-stopped", text, f"docker logs {found.name}")
    return None


def container_socket(way: Way) -> Finding | None:
    """The server's socket."""
    if way.packet is None:
        return None
    found, goal = way.container, way.goal
    if found is None or found.space is None:
        return unknown("container-socket", "container", goal.place, "the container was not looked into")
    arrived = walk.arrive(found.space.rules, way.here.enters(_inward(found, goal.address)), found.space)
    at = Endpoint(goal.protocol, arrived.packet.destination, arrived.packet.port)
    sockets = found.space.listening(at)
    back = found.space.route(way.here.source)
    seen = listening("container-socket", "container", at, sockets, protocol=at.protocol)
    answered = walk.send(found.space.rules, _answer(way, at), found.space)
    for passage, what in ((arrived, at.place), (answered, f"the answers from {at.place}")):
        for rule in passage.unsure:
            way.note(f"container {found.name}: whether this rule matches, or what it does, cannot be told: {rule.text}")
        if passage.end != "accept":
            rule_text = passage.by.text if passage.by and passage.by.text else "a policy"
            text = f"the packet filter in container {found.name} {passage.end}s {what}: {rule_text}"
            return broken(seen, "filter-drop", text, f"docker exec {found.name} iptables-save")
    if arrived.packet.destination != goal.address and not found.space.has_address(arrived.packet.destination):
        way.note(f"container {found.name} leads on to {at.place}, which was not followed")
        return seen
    if back is None or back.kind in _NOWHERE:
        text = f"container {found.name} has no route back to {way.here.source}, so that its answers do not leave it"
        return broken(seen, "network-disconnected", text, f"docker restart {found.name}")
    return seen if sockets else _nobody(found, at, seen)


def _answer(way: Way, at: Endpoint) -> Packet:
    """What the server sends back, by a connection that conntrack knows."""
    sent = way.here
    back = Packet(sent.protocol, at.address, sent.source, sent.source_port)
    return replace(back, source_port=at.port, state="ESTABLISHED")


def _inward(found: Container, address: str) -> str:
    assert found.space
    links = found.space.links
    return next((one.name for one in links if any(a.partition("/")[0] == address for a in one.addresses)), "eth0")


def _nobody(found: Container, at: Endpoint, seen: Finding) -> Finding:
    assert found.space
    here = [one for one in found.space.listeners if one.at.protocol == at.protocol]
    same_port = [one for one in here if one.at.port == at.port]
    other = "udp" if at.protocol == "tcp" else "tcp"
    if same_port and _loopback(same_port[0]):
        text = f"{_what(same_port)} in container {found.name} listens on {same_port[0].at.place} only, inside itself"
        return broken(seen, "container-loopback-only", text, f"have it listen on 0.0.0.0:{at.port}")
    if same_port and (":" in same_port[0].at.address) != (":" in at.address):
        family = "IPv6" if ":" in same_port[0].at.address else "IPv4"
        text = f"{_what(same_port)} in container {found.name} listens over {family} only: {same_port[0].at.place}"
        return broken(seen, "ipv6-half", text, f"have it listen on both families, or on {at.place}")
    if same_port:
        text = f"{_what(same_port)} in container {found.name} listens on {same_port[0].at.place}, not on {at.address}"
        return broken(seen, "container-loopback-only", text, f"have it listen on 0.0.0.0:{at.port}")
    if found.space.listening(replace(at, protocol=other)):
        text = f"container {found.name} listens on port {at.port} by {other}, and {at.protocol} is published"
        return broken(seen, "wrong-protocol", text, f"docker run -p …:{at.port}/{other}")
    ports = sorted({one.at.port for one in here if not _loopback(one)})
    listens = f"; it listens on {', '.join(map(str, ports[:8]))}" if ports else ""
    text = f"nothing in container {found.name} listens on {at.protocol} port {at.port}{listens}"
    elsewhere = f"docker run -p …:{ports[0]}, or " if ports else ""
    return broken(seen, "nothing-listening", text, f"{elsewhere}start the server: docker logs {found.name}")


def _loopback(one: Listener) -> bool:
    return one.at.address.startswith("127.") or one.at.address == "::1"


def _what(sockets: list[Listener]) -> str:
    return names(sockets[0].processes[:1]) or "the server"
