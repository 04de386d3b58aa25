"""The package's functions on plain data, as filters and modules pass it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .conflict import conflicts
from .forward import Endpoint, Forward
from .plan import plan
from .publication import parse_all


def parse_publications(values: Iterable[object]) -> list[dict[str, Any]]:
    """Each publication, one a container port, in the words of compose's long form; raise ValueError."""
    return [publication.as_compose() for publication in parse_all(values)]


def port_conflicts(items: Iterable[object]) -> list[list[str]]:
    """Pairs of host endpoints that cannot both be listened on; raise ValueError.

    Items are forwards (mappings with ``listen``) and publications; those that leave a choice of port are passed over.
    """
    wanted: list[Endpoint] = []
    for item in items:
        if isinstance(item, Mapping) and "listen" in item:
            wanted.append(Endpoint.parse(item["listen"], item.get("protocol", "tcp")))
        else:
            wanted += [endpoint for p in parse_all([item]) if (endpoint := p.listen)]
    return [[str(one), str(other)] for one, other in conflicts(wanted)]


def plan_forwards(
    values: Iterable[object],
    *,
    host_taken: Iterable[str] = (),
    guest_taken: Iterable[str] = (),
    guest_addresses: Collection[str] = (),
    known: Iterable[Mapping[str, str]] = (),
) -> list[dict[str, Any]]:
    """Plan as `plan.plan` does: for each publication its ``guest`` one and its ``forward``; raise ValueError."""
    planned = plan(
        parse_all(values),
        host_taken=[Endpoint.parse(text) for text in host_taken],
        guest_taken=[Endpoint.parse(text) for text in guest_taken],
        guest_addresses=guest_addresses,
        known=[Forward.parse(**forward) for forward in known],
    )
    return [{"publication": str(p.publication), "guest": str(p.guest), "forward": p.forward.as_dict()} for p in planned]
