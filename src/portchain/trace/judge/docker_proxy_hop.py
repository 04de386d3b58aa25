"""docker-proxy, the engine's program that serves a published port where its ``userland-proxy`` is on."""

from __future__ import annotations

from ...ports.forward import Endpoint
from ..rules import packet_path
from ..rules.filter_rules import Packet
from . import udp_flows
from .findings import ChainWalk, Finding, broken, ok


def proxy(walk: ChainWalk) -> Finding | None:
    """Judge the program that accepts and dials the container itself: from here on it is another connection."""
    to = walk.proxied
    if to is None or walk.packet is None:
        return None
    published_at = walk.destination
    source = walk.space.source(to.address)
    walk.to_proxy, walk.packet = walk.passage, Packet(to.protocol, source, to.address, to.port)
    walk.passage = packet_path.send(walk.space.rules, walk.packet, walk.space)
    finding = ok("proxy", "guest", to.hostport, f"docker-proxy dials it from {source}", to=to.hostport)
    return (
        _elsewhere(walk, published_at, to, finding)
        or udp_flows.elsewhere(walk, finding, published_at, published_at)
        or finding
    )


def _elsewhere(walk: ChainWalk, published_at: Endpoint, to: Endpoint, finding: Finding) -> Finding | None:
    """Return the verdict on one that leads elsewhere than the engine says, as after its container's end."""
    owner = walk.container
    if owner is None or not owner.attachments:
        return None
    container_ports = {
        port
        for endpoint, port in owner.bound
        if (endpoint.protocol, endpoint.port) == (published_at.protocol, published_at.port)
    }
    if owner.has_address(to.address) and to.port in (container_ports or {to.port}):
        return None
    text = f"docker-proxy leads {published_at.hostport} to {to.hostport}, which is not where {owner.name} is published"
    return broken(finding, "proxy-elsewhere", text, f"docker restart {owner.name}")
