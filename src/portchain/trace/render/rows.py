"""Draw the rows of a picture: each chain's boxes and lines, from the host's port to the container's."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ...protocol.container_states import WITH_PROCESSES
from ..chain import KINDS, Chain
from ..model import Container, Link, Machine
from .scene import ChainEnd, NetworkSegment, broken_hop, inside_port, process_of
from .shapes import (
    BOX,
    BRIDGE,
    HOST,
    LISTENER,
    PORT,
    RELAY,
    RULE,
    SIZE,
    SMALL,
    TINY,
    VETH,
    Column,
    Drawing,
    DrawnChain,
    Rect,
    Shape,
    Text,
    Wire,
)
from .text_width import elide, plain

ROW = 30.0
_REASON = 15.0
_PILL = 22.0
_PAIR = 38.0
_LEADS = {"nat": "DNAT", "proxy": "proxy"}
_BEFORE_GUEST = ("host-socket", "forward")
_IN_GUEST = ("guest-listener", "proxy", "nat", "filter")


@dataclass(frozen=True)
class Station:
    """A box that a line touches, in ``column`` at height ``y``; it stands for a kind of hop."""

    kind: str
    column: Column
    y: float


class Rows:
    """Draws rows into ``picture``."""

    def __init__(self, machine: Machine, picture: Drawing) -> None:
        self.machine = machine
        self.picture = picture

    def add(self, segment: NetworkSegment, end: ChainEnd, top: float) -> float:
        """Draw the rows of one chain end; return where they end."""
        heights: list[float] = []
        drawn: list[DrawnChain] = []
        y = top
        for chain, following in zip(end.chains, (*end.chains[1:], None), strict=True):
            heights.append(y + ROW / 2)
            drawn.append(DrawnChain(chain.listen, chain.protocol, state_of(chain), in_words(chain)))
            repeated = following is not None and following.verdict == chain.verdict
            reason = [] if repeated else _reason(chain, y + ROW + 8)
            drawn[-1].shapes += [*_pill(HOST, heights[-1], host_port(chain), _classes(chain, "host-socket")), *reason]
            y += ROW + (_REASON if reason else 0)
        columns = [
            _shared([(chain.protocol, _listener(chain)) for chain in end.chains], heights),
            _shared([(chain.protocol, _rule(chain)) for chain in end.chains], heights),
            _shared([(chain.protocol, inside_port(self.machine, chain)) for chain in end.chains], heights),
        ]
        for index, chain in enumerate(end.chains):
            cells = [column[index] if column[index] not in column[:index] else None for column in columns]
            drawn[index].shapes += self._cells(chain, cells)
            stations = _stations(segment, chain, heights[index], [column[index] for column in columns], (top + y) / 2)
            drawn[index].shapes[:0] = _wires(chain, stations)
        self.picture.chains += drawn
        return y

    def _cells(self, chain: Chain, heights: list[float | None]) -> list[Shape]:
        """Draw the chain's boxes in guest and container, without those that a chain before it has drawn."""
        listener, rule, port = heights
        shapes: list[Shape] = []
        if listener and (text := _listener(chain)):
            shapes += _pill(LISTENER, listener, text, _classes(chain, "guest-listener"), _says(chain, "guest-listener"))
        if rule and (text := _rule(chain)):
            kind = _redirect_kind(chain)
            classes = _classes(chain, kind).replace("port", "rule")
            shapes += _pill(RULE, rule, text, classes, _says(chain, kind))
        if port:
            text = (inside_port(self.machine, chain) or "?") + ("/udp" if chain.protocol == "udp" else "")
            shapes += _pill(PORT, port, text, _classes(chain, "container-socket"), _says(chain, "container-socket"))
            if (server := process_of(chain)) and chain.verdict is None:
                shapes.append(Text(PORT.right + 10, port + 4, server).within(BOX.right - PORT.right - 18))
        return shapes

    def pair(self, segment: NetworkSegment, end: ChainEnd, y: float) -> None:
        """Draw the veth pair of a container in its own segment, and the line through it where no chain has one."""
        container = end.container
        if segment.kind != "bridge" or container is None or container.state not in WITH_PROCESSES:
            return
        broken = any((hop := broken_hop(chain)) and hop.kind == "veth" for chain in end.chains)
        self._pair(self._inner(container, segment.link), y, "pair broken" if broken else "pair")
        if not end.chains:
            self.picture.below += [
                Wire(BRIDGE.right, y, VETH.left, y, "link"),
                Wire(VETH.right, y, BOX.left, y, "link"),
            ]

    def other_pair(self, end: ChainEnd, bridge: str, y: float) -> None:
        """Draw a veth pair into another network, and its line into the container."""
        space = self.machine.guest.space if self.machine.guest else None
        link = space.link_named(bridge) if space else None
        inner = self._inner(end.container, link) if end.container else None
        self._pair(inner, y, "pair", _PILL)
        self.picture.below.append(Wire(VETH.right, y, BOX.left, y, "link"))
        if inner:
            label = f"{inner.name} {', '.join(inner.addresses[:1])}"
            self.picture.above.append(Text(BOX.left + 10, y + 4, label, "dim", size=SMALL).within(BOX.width - 20))

    def link(self, y: float, bridge: float) -> None:
        """Draw a line from a bridge to a pair beside another bridge."""
        self.picture.below.append(Wire(BRIDGE.right, bridge, VETH.left, y, "link"))

    def _inner(self, container: Container, bridge: Link | None) -> Link | None:
        """Return the container's end of the pair that leads to a bridge, or to none."""
        guest = self.machine.guest
        if guest is None or container.space is None or bridge is None:
            return None
        for link in container.space.links:
            outer = guest.space.link(link.peer) if link.peer else None
            if outer and outer.master in (bridge.index, 0):
                return link
        return None

    def _pair(self, inner: Link | None, y: float, classes: str, height: float = _PAIR) -> None:
        outer = self.machine.guest.space.link(inner.peer) if inner and self.machine.guest else None
        lines = ["veth"]
        if inner and outer:
            lines = [f"{outer.name}@if{inner.index}", f"{inner.name}@if{outer.index}"]
        title = plain(" ↔ ".join(lines))
        self.picture.below.append(Rect(VETH.left, y - height / 2, VETH.width, height, classes, title))
        visible_lines = lines if height == _PAIR else lines[:1]
        for index, line in enumerate(visible_lines):
            baseline = y + 4 + (index - (len(visible_lines) - 1) / 2) * 14
            self.picture.above.append(
                Text(VETH.left + 6, baseline, line, "dim mono", size=TINY).within(VETH.width - 10)
            )


def state_of(chain: Chain) -> str:
    """Return whole, broken or unknown."""
    if chain.verdict:
        return "broken"
    return "unknown" if any(hop.state == "unknown" for hop in chain.hops) else "whole"


def in_words(chain: Chain) -> str:
    """Describe the chain in one line, for screen readers and tooltips."""
    path = " → ".join(hop.title for hop in chain.hops if hop.title and hop.kind not in ("host-socket", "filter"))
    verdict = f"; broken at {chain.verdict.hop}: {chain.verdict.text}; {chain.verdict.remedy}" if chain.verdict else ""
    return plain(f"{chain.protocol} {path or chain.listen}{verdict}")


def host_port(chain: Chain) -> str:
    """Return where a chain begins: ``*:8080``, ``127.0.0.1:53/udp``."""
    address = chain.listen if not chain.listen.startswith(":") else f"*{chain.listen}"
    return address + ("/udp" if chain.protocol == "udp" else "")


def _listener(chain: Chain) -> str:
    """Return the guest listener's title, or where the forward leads if that is not known."""
    hop = chain.hop("guest-listener")
    if hop and hop.state != "skipped":
        return hop.title
    return chain.target if hop else ""


def _redirect_kind(chain: Chain) -> str:
    """Return the kind of hop that leads on from the guest's listener."""
    return chain.redirect_hop.kind if chain.redirect_hop else "nat"


def _rule(chain: Chain) -> str:
    hop = chain.redirect_hop
    if hop is None:
        return ""
    return f"{_LEADS[hop.kind]} {hop.title}" if hop.facts.get("to") else "no rule"


def _says(chain: Chain, kind: str) -> str:
    hop = chain.hop(kind)
    if hop is None:
        return ""
    counted = f"; {hop.facts['packets']} packets" if "packets" in hop.facts else ""
    return plain(f"{hop.title}: {hop.says}{counted}")


def _classes(chain: Chain, kind: str) -> str:
    """Return the CSS classes of a chain's box for a kind of hop."""
    if chain.verdict is None:
        return "port"
    broken, position = KINDS.index(chain.verdict.hop), KINDS.index(kind)
    return "port broken" if position == broken else "port" if position < broken else "port faint"


def _shared(keys: list[tuple[str, str]], heights: list[float]) -> list[float]:
    """Return the height of each row's box: the middle of the rows with the same key."""
    groups: dict[tuple[str, str], list[float]] = {}
    for key, height in zip(keys, heights, strict=True):
        groups.setdefault(key, []).append(height)
    return [sum(groups[key]) / len(groups[key]) for key in keys]


def _pill(column: Column, y: float, text: str, classes: str, title: str = "") -> list[Shape]:
    """Return a box with its text."""
    text = plain(text, 120)
    visible = elide(text, column.width - 14, SIZE, "mono", tail=6)
    text_classes = classes.replace("port", "portink").replace("rule", "ruleink")
    return [
        Rect(column.left, y - _PILL / 2, column.width, _PILL, classes, title or text),
        Text(column.left + 8, y + 4, visible, f"mono {text_classes}", text),
    ]


def _reason(chain: Chain, y: float) -> list[Shape]:
    """Return why a chain is broken, below the box where it is."""
    if chain.verdict is None:
        return []
    code, text = plain(chain.verdict.code, 40), plain(chain.verdict.text)
    if chain.verdict.hop in _BEFORE_GUEST:
        column, label = HOST, code.replace("-", " ")
    elif chain.verdict.hop in _IN_GUEST:
        column, label = Column(LISTENER.left, RULE.right - LISTENER.left), f"{code}: {text}"
    else:
        column, label = Column(PORT.left, BOX.right - PORT.left - 8), f"{code}: {text}"
    return [Text(column.left, y, f"✕ {label}", "bad", size=SMALL).within(column.width)]


def _stations(segment: NetworkSegment, chain: Chain, y: float, cells: list[float], middle: float) -> list[Station]:
    """Return what the chain's line touches, from left to right."""
    listener, rule, port = cells
    stations = [Station("host-socket", HOST, y), Station("forward", RELAY, y)]
    if _listener(chain):
        stations.append(Station("guest-listener", LISTENER, listener))
    if _rule(chain):
        stations.append(Station(_redirect_kind(chain), RULE, rule))
    if segment.kind != "none":
        stations.append(Station("bridge", BRIDGE, stations[-1].y))
    if segment.kind == "bridge":
        stations.append(Station("veth", VETH, middle))
    return [*stations, Station("container-socket", PORT, port)]


def _wires(chain: Chain, stations: list[Station]) -> list[Shape]:
    """Return the lines between stations."""
    broken = KINDS.index(chain.verdict.hop) if chain.verdict else len(KINDS)
    shapes: list[Shape] = []
    for start, end in pairwise(stations):
        start_position, end_position = KINDS.index(start.kind), KINDS.index(end.kind)
        classes = "hand" if end.kind == "forward" else "wire"
        if start_position >= broken:
            classes = "skipped"
        elif end_position >= broken:
            classes = "broken"
        head = end.kind in ("forward", "guest-listener", *_LEADS, "container-socket")
        shapes.append(Wire(start.column.right, start.y, end.column.left, end.y, classes, head))
    return shapes
