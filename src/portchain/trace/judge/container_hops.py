"""The container's hops: its network namespace and the listening socket in it."""

from __future__ import annotations

from dataclasses import replace

from ...ports.forward import Endpoint
from ...protocol.container_states import STOPPED
from ..model import Container, Listener, NetworkNamespace, format_processes
from ..rules import packet_path
from ..rules.filter_rules import Packet
from ..rules.hook_passage import Passage
from .findings import ChainWalk, Finding, broken, listening, ok, unknown

# Kinds of routes that lead nowhere.
_NOWHERE = ("unreachable", "blackhole", "prohibit")


def container(walk: ChainWalk) -> Finding | None:
    """Judge the container that has the address."""
    if walk.packet is None:
        return None
    address, owner = walk.destination.address, walk.container
    if owner is None:
        return _no_container(walk, address)
    finding = ok(
        "container",
        "container",
        owner.name,
        f"{owner.state}, pid {owner.pid}" if owner.pid else owner.status or owner.state,
        id=owner.id,
        name=owner.name,
        image=owner.image,
        state=owner.state,
        pid=owner.pid,
        namespace=owner.space.inode if owner.space else 0,
        address=address,
    )
    return not_running(owner, finding) or finding


def _no_container(walk: ChainWalk, address: str) -> Finding:
    if reason := walk.guest.no_containers_reason if walk.guest else "":
        return unknown("container", "container", address, f"not looked at: {reason}")
    finding = ok("container", "container", address, "")
    text = f"no container has {address}: the nat rule, or the forward's target, is out of date"
    return broken(finding, "container-unknown", text, "portchain engine restart, or correct the forward's target")


def not_running(container: Container, finding: Finding) -> Finding | None:
    """Return the verdict on a container that does not run; None if it runs."""
    if container.state in STOPPED:
        ended = f", exit code {container.exit_code}" if container.state == "exited" else ""
        text = f"container {container.name} does not run: {container.state}{ended}"
        return broken(
            finding, "container-stopped", text, f"docker start {container.name}; docker logs {container.name}"
        )
    if container.state == "paused":
        text = f"container {container.name} is paused: connections are taken, nobody answers"
        return broken(finding, "container-paused", text, f"docker unpause {container.name}")
    if container.state == "restarting":
        text = f"container {container.name} ends and is restarted, exit code {container.exit_code}"
        return broken(finding, "container-stopped", text, f"docker logs {container.name}")
    return None


def container_socket(walk: ChainWalk) -> Finding | None:
    """Judge the server's socket."""
    if walk.packet is None:
        return None
    owner, destination = walk.container, walk.destination
    if owner is None or owner.space is None:
        return unknown("container-socket", "container", destination.hostport, "the container was not looked into")
    namespace = owner.space
    entering = walk.current.enters(_inward(namespace, destination.address))
    arrived = packet_path.arrive(namespace.rules, entering, namespace)
    at = Endpoint(destination.protocol, arrived.packet.destination, arrived.packet.port)
    sockets = namespace.listening(at)
    finding = listening("container-socket", "container", at, sockets, protocol=at.protocol)
    answered = packet_path.send(namespace.rules, _answer(walk, at), namespace)
    for passage, packets in ((arrived, at.hostport), (answered, f"the answers from {at.hostport}")):
        if dropped := _check_filter(walk, owner, passage, packets, finding):
            return dropped
    if at.address != destination.address and not namespace.has_address(at.address):
        walk.note(f"container {owner.name} leads on to {at.hostport}, which was not followed")
        return finding
    source = walk.current.source
    route = namespace.route(source)
    if route is None or route.kind in _NOWHERE:
        text = f"container {owner.name} has no route back to {source}, so that its answers do not leave it"
        return broken(finding, "network-disconnected", text, f"docker restart {owner.name}")
    return finding if sockets else _nobody(owner, at, finding)


def _check_filter(
    walk: ChainWalk, owner: Container, passage: Passage, packets: str, finding: Finding
) -> Finding | None:
    """Note rules that are not understood, and return the verdict on a packet filter that drops ``packets``."""
    for rule in passage.unsure:
        walk.note(f"container {owner.name}: whether this rule matches, or what it does, cannot be told: {rule.text}")
    if passage.end == "accept":
        return None
    rule_text = passage.by.text if passage.by and passage.by.text else "a policy"
    text = f"the packet filter in container {owner.name} {passage.end}s {packets}: {rule_text}"
    return broken(finding, "filter-drop", text, f"docker exec {owner.name} iptables-save")


def _answer(walk: ChainWalk, at: Endpoint) -> Packet:
    """Return the server's answer, in a connection that conntrack knows."""
    sent = walk.current
    back = Packet(sent.protocol, at.address, sent.source, sent.source_port)
    return replace(back, source_port=at.port, state="ESTABLISHED")


def _inward(namespace: NetworkNamespace, address: str) -> str:
    """Return the name of the interface that has an address."""
    with_address = (
        link.name for link in namespace.links if any(cidr.partition("/")[0] == address for cidr in link.addresses)
    )
    return next(with_address, "eth0")


def _nobody(container: Container, at: Endpoint, finding: Finding) -> Finding:
    """Say why no socket in the container takes the connection."""
    assert container.space
    listeners = [listener for listener in container.space.listeners if listener.at.protocol == at.protocol]
    same_port = [listener for listener in listeners if listener.at.port == at.port]
    if same_port:
        return _wrong_address(container, at, same_port[0], finding)
    other_protocol = "udp" if at.protocol == "tcp" else "tcp"
    if container.space.listening(replace(at, protocol=other_protocol)):
        text = (
            f"container {container.name} listens on port {at.port} by {other_protocol}, and {at.protocol} is published"
        )
        return broken(finding, "wrong-protocol", text, f"docker run -p …:{at.port}/{other_protocol}")
    ports = sorted({listener.at.port for listener in listeners if not _is_loopback(listener.at)})
    listens = f"; it listens on {', '.join(map(str, ports[:8]))}" if ports else ""
    text = f"nothing in container {container.name} listens on {at.protocol} port {at.port}{listens}"
    elsewhere = f"docker run -p …:{ports[0]}, or " if ports else ""
    return broken(finding, "nothing-listening", text, f"{elsewhere}start the server: docker logs {container.name}")


def _wrong_address(container: Container, at: Endpoint, listener: Listener, finding: Finding) -> Finding:
    """Say that the server listens on the port, but on an address that the connection does not come to."""
    server = format_processes(listener.processes[:1]) or "the server"
    where, actual = f"{server} in container {container.name}", listener.at
    if _is_loopback(actual):
        text = f"{where} listens on {actual.hostport} only, inside itself"
        return broken(finding, "container-loopback-only", text, f"have it listen on 0.0.0.0:{at.port}")
    if (":" in actual.address) != (":" in at.address):
        family = "IPv6" if ":" in actual.address else "IPv4"
        text = f"{where} listens over {family} only: {actual.hostport}"
        return broken(finding, "ipv6-half", text, f"have it listen on both families, or on {at.hostport}")
    text = f"{where} listens on {actual.hostport}, not on {at.address}"
    return broken(finding, "container-loopback-only", text, f"have it listen on 0.0.0.0:{at.port}")


def _is_loopback(endpoint: Endpoint) -> bool:
    return endpoint.address.startswith("127.") or endpoint.address == "::1"
