"""The conditions of rules, as tests of a packet. Each gives None where it cannot be known."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

from .model import Match, Matches, Packet

Local = Callable[[str], bool]
_BROADCAST = "255.255.255.255"


def no(test: Matches) -> Matches:
    """The opposite."""

    def opposite(packet: Packet, local: Local) -> bool | None:
        found = test(packet, local)
        return None if found is None else not found

    return opposite


def unknown(_packet: Packet, _local: Local) -> bool | None:
    """What only the kernel knows."""
    return None


def match(text: str, test: Matches, negated: bool = False) -> Match:
    """A condition as it is written, perhaps negated."""
    return Match(text, no(test) if negated else test)


def address(which: str, words: Iterable[str]) -> Matches:
    """``source`` or ``destination`` is in one of the networks, addresses or ranges (``a-b``); raise ValueError."""
    tests = [_range(word) for word in words]

    def test(packet: Packet, _local: Local) -> bool:
        found = ipaddress.ip_address(getattr(packet, which))
        return any(one(found) for one in tests)

    return test


def _range(word: str) -> Callable[[ipaddress.IPv4Address | ipaddress.IPv6Address], bool]:
    first, dash, last = word.partition("-")
    if dash:
        low, high = int(ipaddress.ip_address(first)), int(ipaddress.ip_address(last))
        version = ipaddress.ip_address(first).version
        return lambda found: found.version == version and low <= int(found) <= high
    network = ipaddress.ip_network(word, strict=False)
    return lambda found: found.version == network.version and found in network


def port(which: str, ranges: Iterable[tuple[int, int]]) -> Matches:
    """``port`` (the destination's) or ``source_port`` is in one of the ranges, ends included."""
    several = tuple(ranges)
    return lambda packet, _local: any(low <= getattr(packet, which) <= high for low, high in several)


def either_port(ranges: Iterable[tuple[int, int]]) -> Matches:
    """The source's or the destination's."""
    one, other = port("port", several := tuple(ranges)), port("source_port", several)
    return lambda packet, local: bool(one(packet, local) or other(packet, local))


def interface(which: str, names: Iterable[str]) -> Matches:
    """``inward`` or ``outward`` is one of the names, of which ``+`` or ``*`` at the end stands for any rest."""
    several = tuple(names)

    def test(packet: Packet, _local: Local) -> bool:
        name = getattr(packet, which)
        return any(name.startswith(n[:-1]) if n[-1:] in "+*" else name == n for n in several if n)

    return test


def protocol(names: Iterable[str]) -> Matches:
    """The packet's protocol is one of tcp, udp, their numbers, or ``all``."""
    several = {{"6": "tcp", "17": "udp"}.get(name, name) for name in names}
    everything = bool(several & {"all", "0"})
    return lambda packet, _local: everything or packet.protocol in several


def family(name: str) -> Matches:
    """``ip`` or ``ip6``."""
    return lambda packet, _local: packet.family == name


def state(words: Iterable[str]) -> Matches:
    """Conntrack's state; DNAT where the destination was translated. SNAT cannot be known."""
    several = {word.upper() for word in words}

    def test(packet: Packet, _local: Local) -> bool | None:
        if packet.state in several or ("DNAT" in several and packet.translated):
            return True
        return None if "SNAT" in several else False

    return test


def original(test: Matches) -> Matches:
    """``test`` of where a new connection went before it was translated."""

    def before(packet: Packet, local: Local) -> bool | None:
        if packet.state != "NEW":
            return None
        return test(packet.original or packet, local)

    return before


_FLAGS = {"NEW": {"SYN"}, "ESTABLISHED": {"SYN", "ACK"}}


def tcp_flags(words: str) -> Matches:
    """``MASK FLAGS``, of the first packet of a connection or of its answer."""
    mask, _, wanted = words.partition(" ")
    looked_at, on = _flags(mask), _flags(wanted)

    def test(packet: Packet, _local: Local) -> bool | None:
        if packet.protocol != "tcp":
            return False
        return _FLAGS[packet.state] & looked_at == on if packet.state in _FLAGS else None

    return test


def _flags(words: str) -> set[str]:
    several = set(words.split(",")) - {"NONE"}
    return {"FIN", "SYN", "RST", "PSH", "ACK", "URG"} if "ALL" in several else several


_KINDS = {"LOCAL", "UNICAST", "BROADCAST", "MULTICAST"}


def address_type(which: str, kinds: Iterable[str]) -> Matches:
    """``source`` or ``destination`` is of one of the kinds: LOCAL, UNICAST, BROADCAST, MULTICAST.

    Whether it is of another one cannot be known.
    """
    wanted = {kind.upper() for kind in kinds}

    def test(packet: Packet, local: Local) -> bool | None:
        kind = _kind(getattr(packet, which), local)
        return kind in wanted or (None if kind == "UNICAST" and wanted - _KINDS else False)

    return test


def _kind(text: str, local: Local) -> str:
    if ipaddress.ip_address(text).is_multicast:
        return "MULTICAST"
    if text == _BROADCAST:
        return "BROADCAST"
    return "LOCAL" if local(text) else "UNICAST"


def mark(words: str) -> Matches:
    """The packet's mark is ``value[/mask]``."""
    value, mask = masked(words)
    return lambda packet, _local: None if packet.mark is None else packet.mark & mask == value


def connection_mark(words: str) -> Matches:
    """Its connection's mark is ``value[/mask]``."""
    value, mask = masked(words)

    def test(packet: Packet, _local: Local) -> bool | None:
        found = packet.tracked_mark()
        return None if found is None else found & mask == value

    return test


def masked(words: str) -> tuple[int, int]:
    """``value[/mask]`` as numbers."""
    value, _, mask = words.partition("/")
    return int(value, 0), int(mask or "0xffffffff", 0)
