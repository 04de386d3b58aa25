"""The bridge, and the veth pair from it into the container."""

from __future__ import annotations

from ..model import Link, Space
from .way import Finding, Way, broken, ok, unknown


def _facts(link: Link) -> dict[str, object]:
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


def bridge(way: Way) -> Finding | None:
    """The bridge that the container's network is."""
    if way.packet is None:
        return None
    guest, goal = way.guest, way.goal
    assert guest
    way.container = guest.container_at(goal.address) or way.container
    route = way.space.route(goal.address)
    link = way.space.link_named(route.device) if route else None
    way.network = next((n for n in guest.networks if link and n.bridge == link.name), None)
    title = link.name if link else "no route"
    if link and way.network and way.network.name != link.name:
        title = f"{link.name} ({way.network.name})"
    seen = ok(
        "bridge",
        "guest",
        title,
        f"{', '.join(link.addresses)}, {link.sent_packets} packets out" if link else "",
        network=way.network.name if way.network else "",
        subnets=list(way.network.subnets) if way.network else [],
        **(_facts(link) if link else {}),
    )
    name = way.container.name if way.container else way.forward.owner
    down = _down_bridge(way)
    if down or link is None:
        if down:
            remedy = way.shell("ip", "link", "set", down.name, "up")
            return broken(seen, "bridge-down", f"the bridge {down.name} is down", remedy)
        text = f"the guest has no route to {goal.address}"
        return broken(seen, "network-disconnected", text, f"docker network connect NETWORK {name}")
    way.bridge = link if link.kind == "bridge" else None
    if link.kind != "bridge":
        way.note(f"guest: {goal.address} is reached by {link.name}, which is no bridge")
    return seen


def _down_bridge(way: Way) -> Link | None:
    """The bridge of the network that has the address, where that is down and its route therefore gone."""
    attachments = way.container.attachments if way.container else ()
    attached = [a for a in attachments if way.goal.address in (a.address, a.address6)]
    assert way.guest
    bridges = {n.bridge for n in way.guest.networks for a in attached if a.network_id == n.id or a.network == n.name}
    return next((link for link in way.space.links if link.name in bridges and not link.up), None)


def veth(way: Way) -> Finding | None:
    """The pair: one end a port of the bridge, the other the container's interface."""
    if way.packet is None:
        return None
    inner = _interface(way.container.space, way.goal.address) if way.container and way.container.space else None
    outer = way.space.link(inner.peer) if inner else None
    if inner is None or outer is None:
        return _no_pair(way, inner)
    seen = ok(
        "veth",
        "guest",
        f"{outer.name}@if{inner.index} ↔ {inner.name}@if{outer.index}",
        f"{outer.sent_packets} packets in, {outer.received_packets} out",
        outer=_facts(outer),
        inner=_facts(inner),
    )
    name = way.container.name if way.container else ""
    for link, side, command in (
        (outer, "the guest's", way.shell("ip", "link", "set", outer.name, "up")),
        (inner, f"container {name}'s", f"docker restart {name}"),
    ):
        if not link.up:
            return broken(seen, "veth-down", f"{side} end of the veth pair, {link.name}, is down", command)
    if way.bridge and outer.master != way.bridge.index:
        text = f"{outer.name} is no port of {way.bridge.name}"
        remedy = way.shell("ip", "link", "set", outer.name, "master", way.bridge.name)
        return broken(seen, "veth-detached", text, remedy)
    return seen


def _no_pair(way: Way, inner: Link | None) -> Finding | None:
    container, goal = way.container, way.goal
    if container is None or container.state in ("exited", "created", "dead", "removing"):
        return unknown("veth", "guest", "veth", "no running container has the address")
    if container.space is None:
        return unknown("veth", "guest", "veth", f"container {container.name} was not looked into")
    seen = ok("veth", "guest", "veth", "", container=container.name)
    if inner:
        return unknown("veth", "guest", inner.name, f"its other end, interface {inner.peer}, is not the guest's")
    down = next((link for link in container.space.links if link.kind == "veth" and not link.up), None)
    if down:
        text = f"container {container.name}'s end of the veth pair, {down.name}, is down and without {goal.address}"
        return broken(seen, "veth-down", text, f"docker restart {container.name}")
    text = f"no interface of container {container.name} has {goal.address}"
    return broken(seen, "network-disconnected", text, f"docker restart {container.name}")


def _interface(space: Space, address: str) -> Link | None:
    """The container's link that has an address."""
    return next((one for one in space.links if any(a.partition("/")[0] == address for a in one.addresses)), None)
