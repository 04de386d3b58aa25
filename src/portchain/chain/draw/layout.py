"""Lays the picture out in columns: host ports, forwarder, guest listeners, nat rules, bridges, veth pairs, containers.

Each chain is a row. What chains share stands at the middle of their rows, so that lines meet and do not cross.
"""

from __future__ import annotations

from dataclasses import replace

from ..model import Container, Guest
from .rows import ROW, Rows
from .scene import LIVE, Area, Place, Scene
from .shapes import (
    BOX,
    BRIDGE,
    FORWARDER,
    GUEST_ZONE,
    HOST_ZONE,
    LARGE,
    LISTENER,
    RULE,
    SMALL,
    TINY,
    VETH,
    Picture,
    Rect,
    Text,
)
from .text import plain, wrap

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


def layout(scene: Scene) -> Picture:
    """Where everything is."""
    return _Layout(scene).picture


class _Layout:
    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        whole = sum(one.verdict is None for one in scene.chains)
        counted = f"ports of the host that lead into the guest: {len(scene.chains)}; of them reach a server: {whole}"
        self.picture = Picture(f"portchain: guest {plain(scene.machine.host.guest, 40)}", counted)
        self.rows = Rows(scene.machine, self.picture)
        self.bridges: dict[str, float] = {}
        self.elsewhere: list[tuple[float, str]] = []
        y = top = self._head()
        for area in scene.areas:
            y = self._area(area, y) + _BETWEEN
        for height, bridge in self.elsewhere:
            self.rows.link(height, self.bridges[bridge])
        self._sides(top, max(y, top + _LEAST_HEIGHT))

    def _head(self) -> float:
        """The guest's name, its services and the columns' names; returns where the rows begin."""
        machine, above = self.scene.machine, self.picture.above
        left, room = GUEST_ZONE.left + 12, GUEST_ZONE.width - 24
        above.append(Text(left, 36, f"guest {machine.host.guest}", "bold", size=LARGE).within(room / 2))
        y = 36.0
        if machine.guest is None:
            y += 20
            above.append(Text(left, y, machine.guest_error or machine.host.guest_state, "bad").within(room))
        else:
            said = Text(left + room, 36, _health(machine.guest), "dim", size=SMALL).within(room / 2 - 20)
            above.append(replace(said, end=True))
            names = [
                plain(one.name, 40) + ("" if one.state in ("running", "ended") else f" ({plain(one.state, 20)})")
                for one in machine.guest.services
            ]
            for line in wrap(names, room, SMALL):
                y += 16
                above.append(Text(left, y, line, "dim", size=SMALL))
        y += 28
        above += [Text(column.left, y, text, "dim bold", size=SMALL) for column, text in _COLUMNS]
        return y + 12

    def _sides(self, top: float, bottom: float) -> None:
        """Host and guest, and vpnkit-forwarder along all rows."""
        daemon = self.scene.machine.host.forwarder
        channel = daemon.channel_pid if daemon else 0
        pid = f"forwarder, pid {daemon.pid}" if daemon else "forwarder: no answer"
        self.picture.height = bottom + 2 * _TOP
        self.picture.below[:0] = [
            Rect(HOST_ZONE.left, _TOP, HOST_ZONE.width, bottom, "zone", radius=10),
            Rect(GUEST_ZONE.left, _TOP, GUEST_ZONE.width, bottom, "zone", radius=10),
            Rect(
                FORWARDER.left,
                top,
                FORWARDER.width,
                bottom - top - 2,
                "box" if channel else "box broken",
                "vpnkit-forwarder accepts on the host's own sockets, which the forwarder hands over, and dials inside",
            ),
        ]
        left = FORWARDER.left + 10
        self.picture.above += [
            Text(HOST_ZONE.left + 10, 36, "host", "bold", size=LARGE),
            Text(HOST_ZONE.left + 10, 54, pid, "dim" if daemon else "bad", size=SMALL).within(HOST_ZONE.width - 16),
            Text(left, top + 18, "vpnkit-", "bold", size=SMALL),
            Text(left, top + 33, "forwarder", "bold", size=SMALL),
            Text(left, top + 48, f"pid {channel}" if channel else "away", "dim" if channel else "bad", size=SMALL),
        ]

    def _area(self, area: Area, top: float) -> float:
        """All places of an area and their bridge; returns where it ends."""
        bottom = top - _BETWEEN
        for place in area.places:
            bottom = self._place(area, place, bottom + _BETWEEN)
        if area.kind != "none":
            bottom = max(bottom, top + _LEAST_BRIDGE)
            self._bridge(area, top, bottom)
            self.bridges[area.key] = top + 12
        return bottom

    def _bridge(self, area: Area, top: float, bottom: float) -> None:
        broken = area.kind == "bridge" and (area.link is None or not area.link.up)
        looks = "own" if area.kind == "own" else "box broken" if broken else "box"
        said = [(text, style) for text, style in _about_way(area) if text]
        title = plain("; ".join(text for text, _ in said))
        self.picture.below.append(Rect(BRIDGE.left, top, BRIDGE.width, bottom - top, looks, title))
        for n, (text, style) in enumerate(said):
            self.picture.above.append(
                Text(BRIDGE.left + 8, top + 18 + n * _LINE, text, style, size=SMALL).within(BRIDGE.width - 14)
            )

    def _place(self, area: Area, place: Place, top: float) -> float:
        """A container with its rows; returns where it ends."""
        y = self._other_networks(place, place.above, top + _HEAD)
        first = y
        if place.chains:
            y = self.rows.add(area, place, y)
        middle = (first + y) / 2 if place.chains else top + _HEAD / 2 + 4
        y = self._other_networks(place, place.below, y)
        bottom = y + _FOOT
        self._box(place, top, bottom)
        self.rows.pair(area, place, middle)
        return bottom

    def _other_networks(self, place: Place, bridges: tuple[str, ...], y: float) -> float:
        for bridge in bridges:
            self.rows.other_pair(place, bridge, y + ROW / 2)
            self.elsewhere.append((y + ROW / 2, bridge))
            y += ROW
        return y

    def _box(self, place: Place, top: float, bottom: float) -> None:
        one, left = place.container, BOX.left + 10
        running = one is not None and one.state == "running"
        about = _about_container(one) if one else ""
        title = plain("; ".join(part for part in (place.name, one.image if one else "", about) if part))
        looks = "box" if running else "box faint"
        self.picture.below.append(Rect(BOX.left, top, BOX.width, bottom - top, looks, title, 6))
        name = Text(left, top + 17, place.name, "bold", size=13).within(BOX.width - 20)
        self.picture.above.append(name)
        room = BOX.right - 22 - name.box.right
        if one and one.image and room > 40:
            image = Text(BOX.right - 10, top + 17, one.image, "dim", size=SMALL).within(room)
            self.picture.above.append(replace(image, end=True))
        if about:
            style = "dim mono" if running else "dim"
            self.picture.above.append(Text(left, top + 33, about, style, size=TINY).within(BOX.width - 16))


def _health(guest: Guest) -> str:
    fine = sum(one.state in ("running", "ended") for one in guest.services)
    uplink = guest.space.link_named("eth0")
    address = f" · eth0 {uplink.addresses[0]}" if uplink and uplink.addresses else ""
    return f"{fine} of {len(guest.services)} services run{address}"


def _about_way(area: Area) -> list[tuple[str, str]]:
    """The lines in a bridge's box, each with its classes."""
    if area.kind == "own":
        return [("own network", "bold"), ("of the guest,", "dim"), ("no bridge", "dim")]
    link, network = area.link, area.network
    address = next((one.partition("/")[0] for one in link.addresses), "") if link else "gone"
    down = "down" if link and not link.up else ""
    return [
        (area.key, "mono"),
        (network.name if network else "", "bold"),
        (next(iter(network.subnets), "") if network else "", "dim mono"),
        (address, "dim mono"),
        (down, "bad"),
    ]


def _about_container(one: Container) -> str:
    if one.state not in LIVE:
        wants = ", ".join(str(w.host.port) for w in one.wanted[:4] if w.host)
        return (one.status or one.state) + (f"; wants {wants}" if wants else "")
    own = "host network" if one.network_mode == "host" else "no network"
    address = next((a.address or a.address6 for a in one.attachments if a.address or a.address6), own)
    space = f"net {one.space.inode}" if one.space and one.space.inode else ""
    paused = "" if one.state == "running" else one.state
    return " ".join(part for part in (paused, address, f"pid {one.pid}", space) if part)
