"""The filters of a list of containers that go by ports: to be applied to the host's, not to the guest's. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from ..mapping.words import PortRange

Rows = list[dict[str, Any]]
# The engine shows a container that either of them fits.
BY_PORT = {"publish": "PublicPort", "expose": "PrivatePort"}


def take_ports(query: str) -> tuple[str, Callable[[Rows], Rows]]:
    """The query without the filters by published port, and what applies them to rows as the host sees them.

    A query without such filters, or one that the engine would refuse, stays as it is.
    """
    words = dict(parse_qsl(query, keep_blank_values=True))
    try:
        filters: dict[str, Any] = json.loads(words.get("filters") or "{}")
        wanted = {field: list(map(_read, filters.pop(name, ()))) for name, field in BY_PORT.items()}
        limit = int(words.get("limit") or 0)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return query, list
    if not wanted["PublicPort"]:
        return query, list
    kept = {key: text for key, text in words.items() if key not in ("filters", "limit")}
    if limit > 0:  # it implies the containers that do not run
        kept["all"] = "1"
    asked = urlencode(kept | ({"filters": json.dumps(filters)} if filters else {}))
    return asked, lambda rows: [row for row in rows if _fits(row, wanted)][: limit if limit > 0 else None]


def _read(text: str) -> tuple[PortRange, str]:
    """``80``, ``80/udp``, ``8000-8010/tcp``; raise ValueError."""
    ports, _, protocol = text.partition("/")
    return PortRange.parse(ports), protocol or "tcp"


def _fits(row: Mapping[str, Any], wanted: Mapping[str, Iterable[tuple[PortRange, str]]]) -> bool:
    return any(
        ports.first <= port.get(field, 0) <= ports.last and port.get("Type") == protocol
        for port in row.get("Ports") or ()
        for field, several in wanted.items()
        for ports, protocol in several
    )
