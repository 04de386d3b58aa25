"""The package's functions on plain data, as Ansible's filters pass it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .forward import Forward
from .planning import FORWARDED, PlannedListener, plan
from .publication import parse_all


def plan_chains(
    containers: Iterable[Mapping[str, Any]], forwards: Iterable[Mapping[str, str]] = ()
) -> list[dict[str, Any]]:
    """Plan the chains that forwards and the containers' publications make, as the module reachability expects them.

    A container has a ``name`` and ``ports``, its publications; what is not forwarded, such as SCTP, has no chain. Raise
    ValueError if one cannot be parsed, and for publications that the host cannot have together.
    """
    declared = [Forward.parse(**forward) for forward in forwards]
    publications = [
        (container["name"], publication)
        for container in containers
        for publication in parse_all(container.get("ports") or [])
        if publication.protocol in FORWARDED
    ]
    planned = plan(publications, [forward.listen for forward in declared])
    chains = [_of_forward(forward) for forward in declared if forward.listen.protocol != "unix"]
    return [*chains, *map(_of_publication, planned)]


def _of_forward(forward: Forward) -> dict[str, Any]:
    listen = forward.listen
    chain = {"port": listen.port, "protocol": listen.protocol, "target": forward.target.hostport}
    return chain | ({"address": listen.address} if listen.address else {})


def _of_publication(planned: PlannedListener) -> dict[str, Any]:
    publication, listen = planned.publication, planned.listen
    chain = {"container": planned.container, "container_port": publication.container, "protocol": publication.protocol}
    return (
        chain
        | ({"port": listen.port} if listen else {})
        | ({"address": listen.address} if listen and listen.address else {})
    )
