"""Sets of nft with fast membership tests: a list of blocked addresses may have a hundred thousand elements. Pure."""

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
    """The elements of a set or map; ``rows`` are as nft prints them, those of a map are pairs."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self.rows = list(rows)

    @cached_property
    def _sorted(self) -> tuple[set[Words], dict[int, tuple[list[int], list[int]]], list[Any]]:
        """Single values, the bounds of ranges by address version, and what is neither."""
        single: set[Words] = set()
        spans: dict[int, list[tuple[int, int]]] = {}
        rest: list[Any] = []
        for row in self.rows:
            value = row["elem"]["val"] if isinstance(row, dict) and isinstance(row.get("elem"), dict) else row
            if text := _words(value):
                single |= {text, str(_PROTOCOLS.get(value, value))} if isinstance(value, int) else {text}
            elif bounds := _span(value):
                spans.setdefault(bounds[0], []).append(bounds[1:])
            else:
                rest.append(value)
        return single, {version: _ends(ranges) for version, ranges in spans.items()}, rest

    def hold(self, value: Any, is_in: Callable[[Any, Any], bool]) -> bool:
        """Tell whether an element equals or contains ``value``; ``is_in`` tests elements of other kinds."""
        single, spans, rest = self._sorted
        if (tuple(map(str, value)) if isinstance(value, list) else str(value)) in single:
            return True
        if spans and isinstance(value, str | int):
            version, number = _number(value)
            first, last = spans.get(version, ((), ()))
            if (at := bisect_right(first, number)) and number <= last[at - 1]:
                return True
        return any(is_in(value, element) for element in rest)


def _ends(ranges: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Return the sorted starts of ranges and, for each, the highest end so far."""
    ranges.sort()
    return [first for first, _ in ranges], list(accumulate((last for _, last in ranges), max))


def _words(value: Any) -> Words | None:
    """Return a single value as text, or a concatenation as a tuple of texts; None for anything else."""
    if isinstance(value, int) or (isinstance(value, str) and value[:1] != "@" and value[-1:] != "*"):
        return str(value)
    parts = value.get("concat") if isinstance(value, dict) else None
    texts = [_words(part) for part in parts] if isinstance(parts, list) else [None]
    return tuple(str(text) for text in texts) if all(isinstance(text, str) for text in texts) else None


def _span(value: Any) -> Span | None:
    """Parse a prefix or a range; return None for anything else."""
    try:
        if "prefix" in value:
            network = ipaddress.ip_network(f"{value['prefix']['addr']}/{value['prefix']['len']}", strict=False)
            return network.version, int(network[0]), int(network[-1])
        (version, first), (last_version, last) = map(_number, value["range"])
        return (version, first, last) if version == last_version else None
    except (TypeError, ValueError, KeyError):
        return None


def _number(value: str | int) -> tuple[int, int]:
    """Return a number with version 0, or an address with its IP version; raise ValueError."""
    if isinstance(value, int):
        return 0, value
    address = ipaddress.ip_address(value)
    return address.version, int(address)
