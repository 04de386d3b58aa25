"""The rows of a picture: each chain's boxes and lines, from the host's port to the container's."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ..model import Container, Link, Machine
from ..trace import KINDS, Chain
from .scene import LIVE, Area, Place, broken_hop, inside_port, process_of
from .shapes import (
    BOX,
    BRIDGE,
    FORWARDER,
    HOST,
    LISTENER,
    PORT,
    RULE,
    SIZE,
    SMALL,
    TINY,
    VETH,
    Column,
    Drawn,
    Picture,
    Rect,
    Shape,
    Text,
    Wire,
)
from .text import elide, plain

ROW = 30.0
_REASON = 15.0
_PILL = 22.0
_PAIR = 38.0
_BEFORE_GUEST = ("host-socket", "forward")
_IN_GUEST = ("guest-listener", "nat", "filter")


@dataclass(frozen=True)
class Station:
    """What a line leads to or from: a box in ``column`` at height ``y`` that stands for a kind of hop."""

    kind: str
    column: Column
    y: float


class Rows:
    """Adds rows to ``picture``."""

    def __init__(self, machine: Machine, picture: Picture) -> None:
        self.machine = machine
        self.picture = picture

    def add(self, area: Area, place: Place, top: float) -> float:
        """The rows of one place; returns where they end."""
        heights: list[float] = []
        drawn: list[Drawn] = []
        y = top
        for chain, following in zip(place.chains, (*place.chains[1:], None), strict=True):
            heights.append(y + ROW / 2)
            drawn.append(Drawn(chain.listen, chain.protocol, state_of(chain), in_words(chain)))
            told_below = following is not None and following.verdict == chain.verdict
            reason = [] if told_below else _reason(chain, y + ROW + 8)
            drawn[-1].shapes += [*_pill(HOST, heights[-1], host_port(chain), _looks(chain, "host-socket")), *reason]
            y += ROW + (_REASON if reason else 0)
        columns = [
            _shared([(chain.protocol, _listener(chain)) for chain in place.chains], heights),
            _shared([(chain.protocol, _rule(chain)) for chain in place.chains], heights),
            _shared([(chain.protocol, inside_port(self.machine, chain)) for chain in place.chains], heights),
        ]
        for n, chain in enumerate(place.chains):
            cells = [column[n] if column[n] not in column[:n] else None for column in columns]
            drawn[n].shapes += self._cells(chain, cells)
            stations = _stations(area, chain, heights[n], [column[n] for column in columns], (top + y) / 2)
            drawn[n].shapes[:0] = _wires(chain, stations)
        self.picture.chains += drawn
        return y

    def _cells(self, chain: Chain, at: list[float | None]) -> list[Shape]:
        """The chain's boxes in the guest and the container, but for those that a chain before it has drawn."""
        listener, rule, port = at
        shapes: list[Shape] = []
        if listener and (text := _listener(chain)):
            shapes += _pill(LISTENER, listener, text, _looks(chain, "guest-listener"), _says(chain, "guest-listener"))
        if rule and (text := _rule(chain)):
            looks = _looks(chain, "nat").replace("port", "rule")
            shapes += _pill(RULE, rule, text, looks, _says(chain, "nat"))
        if port:
            text = (inside_port(self.machine, chain) or "?") + ("/udp" if chain.protocol == "udp" else "")
            shapes += _pill(PORT, port, text, _looks(chain, "container-socket"), _says(chain, "container-socket"))
            if (server := process_of(chain)) and chain.verdict is None:
                shapes.append(Text(PORT.right + 10, port + 4, server).within(BOX.right - PORT.right - 18))
        return shapes

    def pair(self, area: Area, place: Place, y: float) -> None:
        """The veth pair of a container in its own area, and the line through it where no chain has one."""
        one = place.container
        if area.kind != "bridge" or one is None or one.state not in LIVE:
            return
        broken = any((hop := broken_hop(chain)) and hop.kind == "veth" for chain in place.chains)
        self._pair(self._inner(one, area.link), y, "pair broken" if broken else "pair")
        if not place.chains:
            self.picture.below += [
                Wire(BRIDGE.right, y, VETH.left, y, "link"),
                Wire(VETH.right, y, BOX.left, y, "link"),
            ]

    def other_pair(self, place: Place, bridge: str, y: float) -> None:
        """A veth pair into another network than that of the container's area, and its line into the container."""
        space = self.machine.guest.space if self.machine.guest else None
        link = space.link_named(bridge) if space else None
        inner = self._inner(place.container, link) if place.container else None
        self._pair(inner, y, "pair", _PILL)
        self.picture.below.append(Wire(VETH.right, y, BOX.left, y, "link"))
        if inner:
            said = f"{inner.name} {', '.join(inner.addresses[:1])}"
            self.picture.above.append(Text(BOX.left + 10, y + 4, said, "dim", size=SMALL).within(BOX.width - 20))

    def link(self, y: float, bridge: float) -> None:
        """A line from a bridge to a pair beside another bridge."""
        self.picture.below.append(Wire(BRIDGE.right, bridge, VETH.left, y, "link"))

    def _inner(self, container: Container, bridge: Link | None) -> Link | None:
        """The container's end of the pair that leads to a bridge, or to none."""
        guest = self.machine.guest
        if guest is None or container.space is None or bridge is None:
            return None
        for link in container.space.links:
            outer = guest.space.link(link.peer) if link.peer else None
            if outer and outer.master in (bridge.index, 0):
                return link
        return None

    def _pair(self, inner: Link | None, y: float, looks: str, height: float = _PAIR) -> None:
        outer = self.machine.guest.space.link(inner.peer) if inner and self.machine.guest else None
        lines = ["veth"]
        if inner and outer:
            lines = [f"{outer.name}@if{inner.index}", f"{inner.name}@if{outer.index}"]
        title = plain(" ↔ ".join(lines))
        self.picture.below.append(Rect(VETH.left, y - height / 2, VETH.width, height, looks, title))
        shown = lines if height == _PAIR else lines[:1]
        for n, line in enumerate(shown):
            baseline = y + 4 + (n - (len(shown) - 1) / 2) * 14
            self.picture.above.append(
                Text(VETH.left + 6, baseline, line, "dim mono", size=TINY).within(VETH.width - 10)
            )


def state_of(chain: Chain) -> str:
    """whole, broken or unknown."""
    if chain.verdict:
        return "broken"
    return "unknown" if any(hop.state == "unknown" for hop in chain.hops) else "whole"


def in_words(chain: Chain) -> str:
    """The chain for those who cannot see it, and on request."""
    way = " → ".join(hop.title for hop in chain.hops if hop.title and hop.kind not in ("host-socket", "filter"))
    verdict = f"; broken at {chain.verdict.hop}: {chain.verdict.text}; {chain.verdict.remedy}" if chain.verdict else ""
    return plain(f"{chain.protocol} {way or chain.listen}{verdict}")


def host_port(chain: Chain) -> str:
    """``*:8080``, ``127.0.0.1:53/udp``."""
    place = chain.listen if not chain.listen.startswith(":") else f"*{chain.listen}"
    return place + ("/udp" if chain.protocol == "udp" else "")


def _listener(chain: Chain) -> str:
    """What stands for the guest's socket: where it listens, or as long as that is not known where the forward leads."""
    hop = chain.hop("guest-listener")
    if hop and hop.state != "skipped":
        return hop.title
    return chain.target if hop else ""


def _rule(chain: Chain) -> str:
    hop = chain.hop("nat")
    if hop is None or hop.state == "skipped":
        return ""
    return f"DNAT {hop.title}" if hop.facts.get("to") else "no rule"


def _says(chain: Chain, kind: str) -> str:
    hop = chain.hop(kind)
    if hop is None:
        return ""
    counted = f"; {hop.facts['packets']} packets" if "packets" in hop.facts else ""
    return plain(f"{hop.title}: {hop.says}{counted}")


def _looks(chain: Chain, kind: str) -> str:
    """The CSS classes of a chain's box for a kind of hop."""
    if chain.verdict is None:
        return "port"
    broken, here = KINDS.index(chain.verdict.hop), KINDS.index(kind)
    return "port broken" if here == broken else "port" if here < broken else "port faint"


def _shared(keys: list[tuple[str, str]], heights: list[float]) -> list[float]:
    """Where the box of each row stands: at the middle of the rows that have the same."""
    found: dict[tuple[str, str], list[float]] = {}
    for key, height in zip(keys, heights, strict=True):
        found.setdefault(key, []).append(height)
    return [sum(found[key]) / len(found[key]) for key in keys]


def _pill(column: Column, y: float, text: str, looks: str, title: str = "") -> list[Shape]:
    text = plain(text, 120)
    shown = elide(text, column.width - 14, SIZE, "mono", tail=6)
    ink = looks.replace("port", "portink").replace("rule", "ruleink")
    return [
        Rect(column.left, y - _PILL / 2, column.width, _PILL, looks, title or text),
        Text(column.left + 8, y + 4, shown, f"mono {ink}", text),
    ]


def _reason(chain: Chain, y: float) -> list[Shape]:
    """Why it is broken, below the box that is."""
    if chain.verdict is None:
        return []
    code, text = plain(chain.verdict.code, 40), plain(chain.verdict.text)
    if chain.verdict.hop in _BEFORE_GUEST:
        column, said = HOST, code.replace("-", " ")
    elif chain.verdict.hop in _IN_GUEST:
        column, said = Column(LISTENER.left, RULE.right - LISTENER.left), f"{code}: {text}"
    else:
        column, said = Column(PORT.left, BOX.right - PORT.left - 8), f"{code}: {text}"
    return [Text(column.left, y, f"✕ {said}", "bad", size=SMALL).within(column.width)]


def _stations(area: Area, chain: Chain, y: float, cells: list[float], middle: float) -> list[Station]:
    """What the chain's line touches, from left to right."""
    listener, rule, port = cells
    found = [Station("host-socket", HOST, y), Station("forward", FORWARDER, y)]
    if _listener(chain):
        found.append(Station("guest-listener", LISTENER, listener))
    if _rule(chain):
        found.append(Station("nat", RULE, rule))
    if area.kind != "none":
        found.append(Station("bridge", BRIDGE, found[-1].y))
    if area.kind == "bridge":
        found.append(Station("veth", VETH, middle))
    return [*found, Station("container-socket", PORT, port)]


def _wires(chain: Chain, stations: list[Station]) -> list[Shape]:
    broken = KINDS.index(chain.verdict.hop) if chain.verdict else len(KINDS)
    shapes: list[Shape] = []
    for one, other in pairwise(stations):
        before, here = KINDS.index(one.kind), KINDS.index(other.kind)
        looks = "hand" if other.kind == "forward" else "wire"
        if before >= broken:
            looks = "skipped"
        elif here >= broken:
            looks = "broken"
        head = other.kind in ("forward", "guest-listener", "nat", "container-socket")
        shapes.append(Wire(one.column.right, one.y, other.column.left, other.y, looks, head))
    return shapes
