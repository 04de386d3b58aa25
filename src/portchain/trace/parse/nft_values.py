"""Comparisons in nft's expressions: a key of the packet with a value, a range, a prefix or a set of them."""

from __future__ import annotations

import ipaddress
import operator
from collections.abc import Callable, Mapping
from typing import Any

from ..rules import marks, matches
from ..rules.filter_rules import Match, Matches, Packet
from .nft_sets import Elements

Local = Callable[[str], bool]
Sets = Mapping[str, Elements]
# A key's value in a packet; None where it cannot be known.
Key = Callable[[Packet, Local], Any]

_PORTS = {"sport": "source_port", "dport": "port"}
_ADDRESSES = {"saddr": "source", "daddr": "destination"}
_NUMBERS = {"tcp": "tcp", "udp": "udp", 6: "tcp", 17: "udp"}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


class _NoFieldError(Exception):
    """Raised where the packet has no such field: the comparison fails."""


def match(statement: Mapping[str, Any], sets: Sets) -> Match:
    """Parse one ``match`` statement."""
    op, right = str(statement.get("op", "==")), statement["right"]
    key = key_of(statement["left"])
    text = f"{format_expression(statement['left'])}{'' if op in ('==', 'in') else f' {op}'} {format_expression(right)}"
    return Match(text, compare(key, op, right, sets) if key else matches.unknown)


def compare(key: Key, op: str, right: Any, sets: Sets) -> Matches:
    """Return a test of the key's value."""
    expected = Elements(right["set"]) if isinstance(right, dict) and isinstance(right.get("set"), list) else right

    def test(packet: Packet, local: Local) -> bool | None:
        try:
            value = key(packet, local)
        except _NoFieldError:
            return False
        if value is None or (isinstance(value, list) and None in value):
            return None
        try:
            result = bool(_ORDER[op](value, right)) if op in _ORDER else among(value, expected, sets)
        except (TypeError, ValueError, KeyError, AttributeError, RecursionError):
            # Of a kind that this key does not have.
            return None
        if not result and isinstance(value, _Some) and right != "dnat":
            return None
        return not result if op in ("!=", "!") else result

    return test


def among(value: Any, right: Any, sets: Sets) -> bool:
    """Tell whether a value equals, or is in, what is on the right: a value, range, prefix or set."""
    if isinstance(value, set):
        return any(among(element, right, sets) for element in value)
    if isinstance(right, str) and right.startswith("@"):
        right = sets[right[1:]]
    if isinstance(right, Elements):
        return right.hold(value, lambda value, element: among(value, element, sets))
    if isinstance(right, list):
        return any(among(value, element, sets) for element in right)
    if isinstance(right, dict):
        return _in_structure(value, right, sets)
    if isinstance(right, str) and right.endswith("*"):
        return str(value).startswith(right[:-1])
    return bool(value == _NUMBERS.get(right, right) if value in ("tcp", "udp") else str(value) == str(right))


def _in_structure(value: Any, right: Mapping[str, Any], sets: Sets) -> bool:
    (kind, inner), *_ = right.items()
    if kind in ("set", "elem"):
        return among(value, inner["val"] if kind == "elem" else inner, sets)
    if kind == "prefix":
        return ipaddress.ip_address(value) in ipaddress.ip_network(f"{inner['addr']}/{inner['len']}", strict=False)
    if kind == "range":
        low, high, number = (
            bound if isinstance(bound, int) else int(ipaddress.ip_address(bound)) for bound in (*inner, value)
        )
        return low <= number <= high
    if kind != "concat":
        raise ValueError(kind)
    return len(value) == len(inner) and all(among(v, r, sets) for v, r in zip(value, inner, strict=True))


def key_of(expression: Any) -> Key | None:
    """Return the key that an expression names; None for what only the kernel knows."""
    if not isinstance(expression, dict):
        return None
    (kind, inner), *_ = expression.items()
    if kind == "payload":
        return _payload(str(inner.get("protocol")), str(inner.get("field")))
    if kind == "concat":
        keys = [key_of(key) for key in inner]
        usable = [key for key in keys if key]
        return (lambda packet, local: [key(packet, local) for key in usable]) if len(usable) == len(keys) else None
    if kind in _BITWISE or (kind, inner) in (("meta", {"key": "mark"}), ("ct", {"key": "mark"})):
        value = number(expression)
        return (lambda packet, _: value(packet)) if value else None
    if not isinstance(inner, dict) or "dir" in inner or inner.get("result", "type") != "type":
        return None
    return _KEYS.get((kind, str(inner.get("key") or ",".join(inner.get("flags", ())))))


def _payload(protocol: str, field: str) -> Key | None:
    if protocol in ("tcp", "udp", "th") and field in _PORTS:
        return lambda packet, _: getattr(packet, _PORTS[field]) if protocol in (packet.protocol, "th") else _another()
    if protocol in ("ip", "ip6") and field in _ADDRESSES:
        return lambda packet, _: getattr(packet, _ADDRESSES[field]) if packet.family == protocol else _another()
    if (protocol, field) in (("ip", "protocol"), ("ip6", "nexthdr")):
        return lambda packet, _: packet.protocol if packet.family == protocol else _another()
    # Of another packet it is nothing, of this one it cannot be known.
    return lambda packet, _: None if protocol in (packet.protocol, packet.family, "th", "ether") else _another()


def _another() -> Any:
    raise _NoFieldError


class _Some(set[str]):
    """Words that hold, while others may hold too."""


def number(expression: Any) -> Callable[[Packet], int | None] | None:
    """Return how to compute a number, such as a mark, from a packet; None for what only the kernel knows."""
    if isinstance(expression, int):
        return lambda _: expression
    (kind, inner), *_ = expression.items()
    if kind in _BITWISE:
        left, right, *rest = map(number, inner)
        return None if rest or not (left and right) else lambda packet: _both(kind, left(packet), right(packet))
    if kind in ("meta", "ct") and inner == {"key": "mark"}:
        which = "mark" if kind == "meta" else "connection_mark"
        return lambda packet: marks.read(packet, which)
    return None


def _both(kind: str, left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else _BITWISE[kind](left, right) & 0xFFFFFFFF


_BITWISE: dict[str, Callable[[int, int], int]] = {"&": operator.and_, "|": operator.or_, "^": operator.xor}


def _states(packet: Packet, _local: Local) -> set[str]:
    return {packet.state.lower()}


def _type(which: str) -> Key:
    def kind(packet: Packet, local: Local) -> str:
        address = getattr(packet, which)
        if ipaddress.ip_address(address).is_multicast:
            return "multicast"
        return "local" if local(address) else "unicast"

    return kind


_KEYS: dict[tuple[str, str], Key] = {
    ("meta", "l4proto"): lambda packet, _: packet.protocol,
    ("meta", "nfproto"): lambda packet, _: "ipv6" if packet.family == "ip6" else "ipv4",
    ("meta", "protocol"): lambda packet, _: packet.family,
    **dict.fromkeys((("meta", "iifname"), ("meta", "iif")), lambda packet, _: packet.inward),
    **dict.fromkeys((("meta", "oifname"), ("meta", "oif")), lambda packet, _: packet.outward),
    ("ct", "state"): _states,
    ("ct", "status"): lambda packet, _: _Some({"dnat"} if packet.translated else ()),
    ("fib", "daddr"): _type("destination"),
    ("fib", "saddr"): _type("source"),
}


def format_expression(expression: Any) -> str:
    """Format an expression about as nft writes it."""
    if isinstance(expression, list):
        return f"{{ {', '.join(map(format_expression, expression))} }}"
    if not isinstance(expression, dict) or not expression:
        return str(expression)
    (kind, inner), *_ = expression.items()
    return _FORMATS[kind](inner) if kind in _FORMATS else kind


_FORMATS: dict[str, Callable[[Any], str]] = {
    "payload": lambda inner: f"{inner.get('protocol', '')} {inner.get('field', '')}".strip(),
    "meta": lambda inner: str(inner.get("key", "")),
    "ct": lambda inner: f"ct {inner.get('key', '')}",
    "fib": lambda inner: f"fib {' . '.join(inner.get('flags', ()))} {inner.get('result', '')}",
    "prefix": lambda inner: f"{inner['addr']}/{inner['len']}",
    "range": lambda inner: "-".join(map(format_expression, inner)),
    "concat": lambda inner: " . ".join(map(format_expression, inner)),
    "&": lambda inner: " & ".join(map(format_expression, inner)),
    "|": lambda inner: " | ".join(map(format_expression, inner)),
    "^": lambda inner: " ^ ".join(map(format_expression, inner)),
    "set": format_expression,
    "elem": lambda inner: format_expression(inner["val"]),
}
