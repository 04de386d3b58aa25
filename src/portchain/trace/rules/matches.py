"""The conditions of rules, as tests of a packet; each returns None where it cannot be known. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

from .filter_rules import Match, Matches, Packet

Local = Callable[[str], bool]
_BROADCAST = "255.255.255.255"


def no(test: Matches) -> Matches:
    """Return the opposite of a test."""

    def opposite(packet: Packet, local: Local) -> bool | None:
        result = test(packet, local)
        return None if result is None else not result

    return opposite


def unknown(_packet: Packet, _local: Local) -> bool | None:
    """Return None: only the kernel knows."""
    return None


def match(text: str, test: Matches, negated: bool = False) -> Match:
    """Return a condition as it is written, perhaps negated."""
    return Match(text, no(test) if negated else test)


def address(which: str, ranges: Iterable[str]) -> Matches:
    """Match a ``source`` or ``destination`` in networks, addresses or ranges (``a-b``); raise ValueError."""
    tests = [_range(text) for text in ranges]

    def test(packet: Packet, _local: Local) -> bool:
        parsed = ipaddress.ip_address(getattr(packet, which))
        return any(contains(parsed) for contains in tests)

    return test


def _range(word: str) -> Callable[[ipaddress.IPv4Address | ipaddress.IPv6Address], bool]:
    first, dash, last = word.partition("-")
    if dash:
        low, high = int(ipaddress.ip_address(first)), int(ipaddress.ip_address(last))
        version = ipaddress.ip_address(first).version
        return lambda address: address.version == version and low <= int(address) <= high
    network = ipaddress.ip_network(word, strict=False)
    return lambda address: address.version == network.version and address in network


def port(which: str, ranges: Iterable[tuple[int, int]]) -> Matches:
    """Match a ``port`` (the destination's) or ``source_port`` in one of the ranges, ends included."""
    intervals = tuple(ranges)
    return lambda packet, _local: any(low <= getattr(packet, which) <= high for low, high in intervals)


def either_port(ranges: Iterable[tuple[int, int]]) -> Matches:
    """Match the source's or the destination's port."""
    destination, source = port("port", intervals := tuple(ranges)), port("source_port", intervals)
    return lambda packet, local: bool(destination(packet, local) or source(packet, local))


def interface(which: str, names: Iterable[str]) -> Matches:
    """Match ``inward`` or ``outward`` by names, of which ``+`` or ``*`` at the end stands for any rest."""
    patterns = tuple(names)

    def test(packet: Packet, _local: Local) -> bool:
        name = getattr(packet, which)
        return any(name.startswith(n[:-1]) if n[-1:] in "+*" else name == n for n in patterns if n)

    return test


def protocol(names: Iterable[str]) -> Matches:
    """Match the packet's protocol: tcp, udp, their numbers, or ``all``."""
    accepted = {{"6": "tcp", "17": "udp"}.get(name, name) for name in names}
    everything = bool(accepted & {"all", "0"})
    return lambda packet, _local: everything or packet.protocol in accepted


def family(name: str) -> Matches:
    """Match the address family, ``ip`` or ``ip6``."""
    return lambda packet, _local: packet.family == name


def state(names: Iterable[str]) -> Matches:
    """Match conntrack's state; DNAT means a translated destination, and SNAT cannot be known."""
    states = {word.upper() for word in names}

    def test(packet: Packet, _local: Local) -> bool | None:
        if packet.state in states or ("DNAT" in states and packet.translated):
            return True
        return None if "SNAT" in states else False

    return test


def original(test: Matches) -> Matches:
    """Match where a new connection went before it was translated."""

    def before(packet: Packet, local: Local) -> bool | None:
        if packet.state != "NEW":
            return None
        return test(packet.original or packet, local)

    return before


_FLAGS = {"NEW": {"SYN"}, "ESTABLISHED": {"SYN", "ACK"}}


def tcp_flags(text: str) -> Matches:
    """Match TCP flags (``MASK FLAGS``) of the first packet of a connection or of its answer."""
    mask, _, expected_text = text.partition(" ")
    examined, expected = _flags(mask), _flags(expected_text)

    def test(packet: Packet, _local: Local) -> bool | None:
        if packet.protocol != "tcp":
            return False
        return _FLAGS[packet.state] & examined == expected if packet.state in _FLAGS else None

    return test


def _flags(text: str) -> set[str]:
    flags = set(text.split(",")) - {"NONE"}
    return {"FIN", "SYN", "RST", "PSH", "ACK", "URG"} if "ALL" in flags else flags


_KINDS = {"LOCAL", "UNICAST", "BROADCAST", "MULTICAST"}


def address_type(which: str, kinds: Iterable[str]) -> Matches:
    """Match the type of ``source`` or ``destination``: LOCAL, UNICAST, BROADCAST or MULTICAST.

    Other types cannot be known.
    """
    accepted = {kind.upper() for kind in kinds}

    def test(packet: Packet, local: Local) -> bool | None:
        kind = _kind(getattr(packet, which), local)
        return kind in accepted or (None if kind == "UNICAST" and accepted - _KINDS else False)

    return test


def _kind(text: str, local: Local) -> str:
    if ipaddress.ip_address(text).is_multicast:
        return "MULTICAST"
    if text == _BROADCAST:
        return "BROADCAST"
    return "LOCAL" if local(text) else "UNICAST"


def mark(text: str) -> Matches:
    """Match the packet's mark against ``value[/mask]``."""
    value, mask = masked(text)
    return lambda packet, _local: None if packet.mark is None else packet.mark & mask == value


def connection_mark(text: str) -> Matches:
    """Match the mark of the packet's connection against ``value[/mask]``."""
    value, mask = masked(text)

    def test(packet: Packet, _local: Local) -> bool | None:
        current = packet.tracked_mark()
        return None if current is None else current & mask == value

    return test


def masked(text: str) -> tuple[int, int]:
    """Parse ``value[/mask]`` as numbers."""
    value, _, mask = text.partition("/")
    return int(value, 0), int(mask or "0xffffffff", 0)
