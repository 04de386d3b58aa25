"""Sets of nft's that are looked into fast: a list of blocked addresses may have a hundred thousand. Pure."""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import accumulate
from typing import Any

_PROTOCOLS = {6: "tcp", 17: "udp"}
Words = str | tuple[str, ...]
# Of numbers (0), or of addresses by their version: first and last.
Span = tuple[int, int, int]


class Elements:
    """The elements of a set, ``rows`` as nft has them; those of a map are pairs."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self.rows = list(rows)

    @cached_property
    def _sorted(self) -> tuple[set[Words], dict[int, tuple[list[int], list[int]]], list[Any]]:
        """Single values, the ends of spans by version, and what is neither."""
        single: set[Words] = set()
        spans: dict[int, list[tuple[int, int]]] = {}
        rest: list[Any] = []
        for row in self.rows:
            one = row["elem"]["val"] if isinstance(row, dict) and isinstance(row.get("elem"), dict) else row
            if words := _words(one):
                single |= {words, str(_PROTOCOLS.get(one, one))} if isinstance(one, int) else {words}
            elif span := _span(one):
                spans.setdefault(span[0], []).append(span[1:])
            else:
                rest.append(one)
        return single, {version: _ends(several) for version, several in spans.items()}, rest

    def hold(self, value: Any, is_in: Callable[[Any, Any], bool]) -> bool:
        """Whether one of them is ``value``, or has it; ``is_in`` tells of what is neither a value nor a span."""
        single, spans, rest = self._sorted
        if (tuple(map(str, value)) if isinstance(value, list) else str(value)) in single:
            return True
        if spans and isinstance(value, str | int):
            version, number = _number(value)
            first, last = spans.get(version, ((), ()))
            if (at := bisect_right(first, number)) and number <= last[at - 1]:
                return True
        return any(is_in(value, one) for one in rest)


def _ends(spans: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Where each begins, and where it or one before it ends."""
    spans.sort()
    return [first for first, _ in spans], list(accumulate((last for _, last in spans), max))


def _words(one: Any) -> Words | None:
    """A single value as words; None for what is none."""
    if isinstance(one, int) or (isinstance(one, str) and one[:1] != "@" and one[-1:] != "*"):
        return str(one)
    parts = one.get("concat") if isinstance(one, dict) else None
    words = [_words(part) for part in parts] if isinstance(parts, list) else [None]
    return tuple(str(word) for word in words) if all(isinstance(word, str) for word in words) else None


def _span(one: Any) -> Span | None:
    """A prefix or a range; None for what is neither."""
    try:
        if "prefix" in one:
            network = ipaddress.ip_network(f"{one['prefix']['addr']}/{one['prefix']['len']}", strict=False)
            return network.version, int(network[0]), int(network[-1])
        (version, first), (other, last) = map(_number, one["range"])
        return (version, first, last) if version == other else None
    except (TypeError, ValueError, KeyError):
        return None


def _number(value: str | int) -> tuple[int, int]:
    """A number, or an address with its version; raise ValueError."""
    if isinstance(value, int):
        return 0, value
    address = ipaddress.ip_address(value)
    return address.version, int(address)
