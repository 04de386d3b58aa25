"""The hops between the guest and the container: the bridge, and the veth pair."""

from __future__ import annotations

from ...protocol.container_states import STOPPED
from ..model import Link, Network, NetworkNamespace
from .findings import ChainWalk, Finding, broken, ok, unknown


def _link_facts(link: Link) -> dict[str, object]:
    return {
        "name": link.name,
        "index": link.index,
        "up": link.up,
        "carrier": link.carrier,
        "mtu": link.mtu,
        "mac": link.mac,
        "addresses": list(link.addresses),
        "received_packets": link.received_packets,
        "sent_packets": link.sent_packets,
        "dropped": link.dropped,
    }


def bridge(walk: ChainWalk) -> Finding | None:
    """Judge the bridge of the container's network."""
    if walk.packet is None:
        return None
    link = _find_network(walk)
    finding = _describe_bridge(link, walk.network)
    if down := _down_bridge(walk):
        remedy = walk.shell("ip", "link", "set", down.name, "up")
        return broken(finding, "bridge-down", f"the bridge {down.name} is down", remedy)
    address = walk.destination.address
    if link is None:
        name = walk.container.name if walk.container else walk.forward.owner
        text = f"the guest has no route to {address}"
        return broken(finding, "network-disconnected", text, f"docker network connect NETWORK {name}")
    if link.kind == "bridge":
        walk.bridge = link
    else:
        walk.note(f"guest: {address} is reached by {link.name}, which is no bridge")
    return finding


def _find_network(walk: ChainWalk) -> Link | None:
    """Set the walk's container and network, and return the interface that leads to them."""
    guest, address = walk.guest, walk.destination.address
    assert guest
    walk.container = guest.container_at(address) or walk.container
    route = walk.space.route(address)
    link = walk.space.link_named(route.device) if route else None
    walk.network = next((network for network in guest.networks if link and network.bridge == link.name), None)
    return link


def _describe_bridge(link: Link | None, network: Network | None) -> Finding:
    title = link.name if link else "no route"
    if link and network and network.name != link.name:
        title = f"{link.name} ({network.name})"
    return ok(
        "bridge",
        "guest",
        title,
        f"{', '.join(link.addresses)}, {link.sent_packets} packets out" if link else "",
        network=network.name if network else "",
        subnets=list(network.subnets) if network else [],
        **(_link_facts(link) if link else {}),
    )


def _down_bridge(walk: ChainWalk) -> Link | None:
    """Return the bridge of the address's network if it is down, which removes its route."""
    attachments = walk.container.attachments if walk.container else ()
    attached = [
        attachment
        for attachment in attachments
        if walk.destination.address in (attachment.address, attachment.address6)
    ]
    assert walk.guest
    bridges = {
        network.bridge
        for network in walk.guest.networks
        for attachment in attached
        if attachment.network_id == network.id or attachment.network == network.name
    }
    return next((link for link in walk.space.links if link.name in bridges and not link.up), None)


def veth(walk: ChainWalk) -> Finding | None:
    """Judge the pair: one end is a port of the bridge, the other the container's interface."""
    if walk.packet is None:
        return None
    inner = (
        _interface(walk.container.space, walk.destination.address) if walk.container and walk.container.space else None
    )
    outer = walk.space.link(inner.peer) if inner else None
    if inner is None or outer is None:
        return _no_pair(walk, inner)
    finding = ok(
        "veth",
        "guest",
        f"{outer.name}@if{inner.index} ↔ {inner.name}@if{outer.index}",
        f"{outer.sent_packets} packets in, {outer.received_packets} out",
        outer=_link_facts(outer),
        inner=_link_facts(inner),
    )
    name = walk.container.name if walk.container else ""
    for link, side, command in (
        (outer, "the guest's", walk.shell("ip", "link", "set", outer.name, "up")),
        (inner, f"container {name}'s", f"docker restart {name}"),
    ):
        if not link.up:
            return broken(finding, "veth-down", f"{side} end of the veth pair, {link.name}, is down", command)
    if walk.bridge and outer.master != walk.bridge.index:
        text = f"{outer.name} is no port of {walk.bridge.name}"
        remedy = walk.shell("ip", "link", "set", outer.name, "master", walk.bridge.name)
        return broken(finding, "veth-detached", text, remedy)
    return finding


def _no_pair(walk: ChainWalk, inner: Link | None) -> Finding | None:
    """Say why there is no pair with the address."""
    container, destination = walk.container, walk.destination
    if container is None or container.state in STOPPED:
        return unknown("veth", "guest", "veth", "no running container has the address")
    if container.space is None:
        return unknown("veth", "guest", "veth", f"container {container.name} was not looked into")
    finding = ok("veth", "guest", "veth", "", container=container.name)
    if inner:
        return unknown("veth", "guest", inner.name, f"its other end, interface {inner.peer}, is not the guest's")
    down = next((link for link in container.space.links if link.kind == "veth" and not link.up), None)
    if down:
        text = (
            f"container {container.name}'s end of the veth pair, {down.name}, is down and without {destination.address}"
        )
        return broken(finding, "veth-down", text, f"docker restart {container.name}")
    text = f"no interface of container {container.name} has {destination.address}"
    return broken(finding, "network-disconnected", text, f"docker restart {container.name}")


def _interface(space: NetworkNamespace, address: str) -> Link | None:
    """Return the container's link that has an address."""
    return next(
        (link for link in space.links if any(cidr.partition("/")[0] == address for cidr in link.addresses)), None
    )
