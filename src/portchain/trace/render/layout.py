"""Lay the picture out in columns: host ports, relay, guest listeners, nat rules, bridges, veth pairs, containers.

Each chain is a row. A box that chains share stands at the middle of their rows, so that lines meet and do not cross.
"""

from __future__ import annotations

from dataclasses import replace

from ...protocol.container_states import WITH_PROCESSES
from ..model import Container, Guest
from ..unpublished import unpublished_ports
from .rows import ROW, Rows
from .scene import ChainEnd, NetworkSegment, Scene
from .shapes import (
    BOX,
    BRIDGE,
    GUEST_ZONE,
    HOST_ZONE,
    LARGE,
    LISTENER,
    RELAY,
    RULE,
    SMALL,
    TINY,
    VETH,
    Drawing,
    Rect,
    Text,
)
from .text_width import plain, wrap

_TOP = 12.0
_HEAD = 40.0
_FOOT = 8.0
_BETWEEN = 10.0
_LEAST_BRIDGE = 68.0
_LEAST_HEIGHT = 90.0
_LINE = 15.0
_COLUMNS = (
    (LISTENER, "listening sockets"),
    (RULE, "nat rules"),
    (BRIDGE, "bridges"),
    (VETH, "veth pairs"),
    (BOX, "containers"),
)


def layout(scene: Scene) -> Drawing:
    """Return the picture of a scene."""
    return _Layout(scene).picture


class _Layout:
    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        whole_count = sum(chain.verdict is None for chain in scene.chains)
        description = (
            f"ports of the host that lead into the guest: {len(scene.chains)}; of them reach a server: {whole_count}"
        )
        self.picture = Drawing(f"portchain: guest {plain(scene.machine.host.guest, 40)}", description)
        self.rows = Rows(scene.machine, self.picture)
        self.bridges: dict[str, float] = {}
        self.elsewhere: list[tuple[float, str]] = []
        y = top = self._draw_head()
        for segment in scene.segments:
            y = self._draw_segment(segment, y) + _BETWEEN
        for height, bridge in self.elsewhere:
            self.rows.link(height, self.bridges[bridge])
        self._draw_sides(top, max(y, top + _LEAST_HEIGHT))

    def _draw_head(self) -> float:
        """Draw the guest's name, its services and the columns' names; return where the rows begin."""
        machine, above = self.scene.machine, self.picture.above
        left, available = GUEST_ZONE.left + 12, GUEST_ZONE.width - 24
        above.append(Text(left, 36, f"guest {machine.host.guest}", "bold", size=LARGE).within(available / 2))
        y = 36.0
        if machine.guest is None:
            y += 20
            above.append(Text(left, y, machine.guest_error or machine.host.guest_state, "bad").within(available))
        else:
            health = Text(left + available, 36, _health(machine.guest), "dim", size=SMALL).within(available / 2 - 20)
            above.append(replace(health, end=True))
            names = [
                plain(service.name, 40)
                + ("" if service.state in ("running", "ended") else f" ({plain(service.state, 20)})")
                for service in machine.guest.services
            ]
            for line in wrap(names, available, SMALL):
                y += 16
                above.append(Text(left, y, line, "dim", size=SMALL))
        y += 28
        proxied = any(chain.hop("proxy") for chain in self.scene.chains)
        for column, text in _COLUMNS:
            title = "docker-proxy" if column == RULE and proxied else text
            above.append(Text(column.left, y, title, "dim bold", size=SMALL))
        return y + 12

    def _draw_sides(self, top: float, bottom: float) -> None:
        """Draw the frames of host and guest, and the relay along all rows."""
        daemon = self.scene.machine.host.forwarder
        relay, channel = (daemon.relay_pid, daemon.channel_pid) if daemon else (0, 0)
        pid = f"forwarder, pid {daemon.pid}" if daemon else "forwarder: no answer"
        self.picture.height = bottom + 2 * _TOP
        self.picture.below[:0] = [
            Rect(HOST_ZONE.left, _TOP, HOST_ZONE.width, bottom, "zone", radius=10),
            Rect(GUEST_ZONE.left, _TOP, GUEST_ZONE.width, bottom, "zone", radius=10),
            Rect(
                RELAY.left,
                top,
                RELAY.width,
                bottom - top - 2,
                "box" if channel else "box broken",
                "accepts on the sockets that the forwarder hands over, and dials with sockets of the guest's network, "
                "which vpnkit-forwarder lends",
            ),
        ]
        left = RELAY.left + 8
        self.picture.above += [
            Text(HOST_ZONE.left + 10, 36, "host", "bold", size=LARGE),
            Text(HOST_ZONE.left + 10, 54, pid, "dim" if daemon else "bad", size=SMALL).within(HOST_ZONE.width - 16),
            Text(left, top + 18, "relay", "bold", size=SMALL),
            _pid(left, top + 33, relay),
            Text(left, top + 50, "with sockets of", "dim", size=SMALL),
            Text(left, top + 65, "vpnkit-forwarder", size=SMALL),
            _pid(left, top + 80, channel),
        ]

    def _draw_segment(self, segment: NetworkSegment, top: float) -> float:
        """Draw all chain ends of a segment and their bridge; return where it ends."""
        bottom = top - _BETWEEN
        for end in segment.ends:
            bottom = self._draw_end(segment, end, bottom + _BETWEEN)
        if segment.kind != "none":
            bottom = max(bottom, top + _LEAST_BRIDGE)
            self._draw_bridge(segment, top, bottom)
            self.bridges[segment.key] = top + 12
        return bottom

    def _draw_bridge(self, segment: NetworkSegment, top: float, bottom: float) -> None:
        broken = segment.kind == "bridge" and (segment.link is None or not segment.link.up)
        looks = "own" if segment.kind == "own" else "box broken" if broken else "box"
        lines = [(text, style) for text, style in _bridge_lines(segment) if text]
        title = plain("; ".join(text for text, _ in lines))
        self.picture.below.append(Rect(BRIDGE.left, top, BRIDGE.width, bottom - top, looks, title))
        for n, (text, style) in enumerate(lines):
            self.picture.above.append(
                Text(BRIDGE.left + 8, top + 18 + n * _LINE, text, style, size=SMALL).within(BRIDGE.width - 14)
            )

    def _draw_end(self, segment: NetworkSegment, end: ChainEnd, top: float) -> float:
        """Draw a container with its rows; return where it ends."""
        y = self._draw_other_networks(end, end.above, top + _HEAD)
        rows_top = y
        if end.chains:
            y = self.rows.add(segment, end, y)
        middle = (rows_top + y) / 2 if end.chains else top + _HEAD / 2 + 4
        y = self._draw_other_networks(end, end.below, y)
        bottom = y + _FOOT
        self._draw_box(end, top, bottom)
        self.rows.pair(segment, end, middle)
        return bottom

    def _draw_other_networks(self, end: ChainEnd, bridges: tuple[str, ...], y: float) -> float:
        for bridge in bridges:
            self.rows.other_pair(end, bridge, y + ROW / 2)
            self.elsewhere.append((y + ROW / 2, bridge))
            y += ROW
        return y

    def _draw_box(self, end: ChainEnd, top: float, bottom: float) -> None:
        container, left = end.container, BOX.left + 10
        running = container is not None and container.state == "running"
        summary = _container_line(container, self.scene.machine.guest) if container else ""
        title = plain("; ".join(part for part in (end.name, container.image if container else "", summary) if part))
        classes = "box" if running else "box faint"
        self.picture.below.append(Rect(BOX.left, top, BOX.width, bottom - top, classes, title, 6))
        name = Text(left, top + 17, end.name, "bold", size=13).within(BOX.width - 20)
        self.picture.above.append(name)
        room = BOX.right - 22 - name.box.right
        if container and container.image and room > 40:
            image = Text(BOX.right - 10, top + 17, container.image, "dim", size=SMALL).within(room)
            self.picture.above.append(replace(image, end=True))
        if summary:
            style = "dim mono" if running else "dim"
            self.picture.above.append(Text(left, top + 33, summary, style, size=TINY).within(BOX.width - 16))


def _pid(x: float, y: float, pid: int) -> Text:
    """Return the line below a process's name."""
    return Text(x, y, f"pid {pid}" if pid else "away", "dim" if pid else "bad", size=SMALL)


def _health(guest: Guest) -> str:
    healthy = sum(service.state in ("running", "ended") for service in guest.services)
    uplink = guest.space.link_named("eth0")
    address = f" · eth0 {uplink.addresses[0]}" if uplink and uplink.addresses else ""
    return f"{healthy} of {len(guest.services)} services run{address}"


def _bridge_lines(segment: NetworkSegment) -> list[tuple[str, str]]:
    """Return the lines in a bridge's box, each with its CSS classes."""
    if segment.kind == "own":
        return [("own network", "bold"), ("of the guest,", "dim"), ("no bridge", "dim")]
    link, network = segment.link, segment.network
    address = next((cidr.partition("/")[0] for cidr in link.addresses), "") if link else "gone"
    down = "down" if link and not link.up else ""
    return [
        (segment.key, "mono"),
        (network.name if network else "", "bold"),
        (next(iter(network.subnets), "") if network else "", "dim mono"),
        (address, "dim mono"),
        (down, "bad"),
    ]


def _container_line(container: Container, guest: Guest | None) -> str:
    """Return the line below a container's name."""
    if container.state not in WITH_PROCESSES:
        wants = ", ".join(str(publication.host.port) for publication in container.wanted[:4] if publication.host)
        return (container.status or container.state) + (f"; wants {wants}" if wants else "")
    no_address = "host network" if container.network_mode == "host" else "no network"
    address = next(
        (
            attachment.address or attachment.address6
            for attachment in container.attachments
            if attachment.address or attachment.address6
        ),
        no_address,
    )
    space = f"net {container.space.inode}" if container.space and container.space.inode else ""
    paused = "" if container.state == "running" else container.state
    if guest and (not_published := unpublished_ports(guest, container)):
        return f"{address}; not published: {', '.join(not_published.ports)}"
    return " ".join(part for part in (paused, address, f"pid {container.pid}", space) if part)
