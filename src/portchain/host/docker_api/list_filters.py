"""The port filters of a list of containers, which apply to the host's ports, not to the guest's. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from ...http import json_text
from ...ports.syntax import PortRange

MAX_PARAMETERS = 100
MAX_FILTERS = 16  # by port
MAX_VALUES = 10_000  # of all filters

Rows = list[dict[str, Any]]
# The engine lists a container that matches either of them.
BY_PORT = {"publish": "PublicPort", "expose": "PrivatePort"}


def take_port_filters(query: str) -> tuple[str, Callable[[Rows], Rows]]:
    """Take the filters by published port out of a query.

    Return the query without them, and a function that applies them to rows with the host's ports. A query without such
    filters, or one that the engine would refuse, stays as it is.
    """
    try:
        parameters = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS))
        filters: dict[str, Any] = json_text.parse((parameters.get("filters") or "{}").encode(), MAX_VALUES)
        if sum(len(filters.get(name, ())) for name in BY_PORT) > MAX_FILTERS:
            raise ValueError(f"more than {MAX_FILTERS} filters by port")
        wanted = {field: list(map(_parse_filter, filters.pop(name, ()))) for name, field in BY_PORT.items()}
        limit = int(parameters.get("limit") or 0)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return query, list
    if not wanted["PublicPort"]:
        return query, list
    kept = {key: value for key, value in parameters.items() if key not in ("filters", "limit")}
    if limit > 0:  # it implies the containers that do not run
        kept["all"] = "1"
    engine_query = urlencode(kept | ({"filters": json.dumps(filters)} if filters else {}))
    return engine_query, lambda rows: [row for row in rows if _matches(row, wanted)][: limit if limit > 0 else None]


def _parse_filter(text: str) -> tuple[PortRange, str]:
    """Parse ``80``, ``80/udp`` or ``8000-8010/tcp``; raise ValueError."""
    ports, _, protocol = text.partition("/")
    return PortRange.parse(ports), protocol or "tcp"


def _matches(row: Mapping[str, Any], wanted: Mapping[str, Iterable[tuple[PortRange, str]]]) -> bool:
    return any(
        ports.first <= port.get(field, 0) <= ports.last and port.get("Type") == protocol
        for port in row.get("Ports") or ()
        for field, filters in wanted.items()
        for ports, protocol in filters
    )
