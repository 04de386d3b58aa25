"""Draws what was seen of a machine as the sections of the dashboard: the report's, traffic, and what can be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from ..chain.draw import page
from ..chain.draw.text import plain
from ..chain.model import Machine
from ..chain.query import Query
from ..chain.trace import Chain, Trace
from ..chain.walk import trace
from .changes import Picture
from .traffic import COUNTERS, Meter

MAX_MISSING = 100
SECTIONS = ("live-traffic", "live-containers", "live-services")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("portchain.dashboard"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["plain"] = lambda value: plain(str(value))
    return environment.get_template("live.html")


def missing(machine: Machine) -> dict[Query, str]:
    """What a container that runs publishes, and nothing forwards: the container's name by each port."""
    there = list(machine.published())
    wanted = {
        Query(one.host.port, one.host.protocol, one.host.address): container.name
        for container in (machine.guest.containers if machine.guest else ())
        if container.state == "running"
        for one in container.wanted
        if one.host
    }
    return {query: name for query, name in wanted.items() if not any(query.asks_for(one.listen) for one in there)}


class View:
    """One after the other: traffic is the difference of two, and what is missing once may be about to come."""

    def __init__(self) -> None:
        self._meter = Meter()
        self._missing: dict[Query, str] = {}

    def draw(self, machine: Machine, traces: Sequence[Trace]) -> Picture:
        """The picture of a machine."""
        before, self._missing = self._missing, missing(machine)
        traces = [
            *traces,
            *(_absent(machine, query, self._missing[query]) for query in before if query in self._missing),
        ]
        chains = {name(one): one for trace in traces for one in trace.chains}
        seen = max((one.time for one in traces), default=0.0)
        counts = self._meter.read(chains, seen)
        words = {
            "containers": machine.guest.containers if machine.guest else (),
            "services": machine.guest.services if machine.guest else (),
            "rows": [(key, chain, counts[key]) for key, chain in chains.items()],
            "counters": [counter[0] for counter in COUNTERS],
            "anchor": page.anchor,
        }
        return Picture(
            page.sections(machine, traces) | _drawn(words),
            tuple(f"{key} ({one.owner}): {one.verdict.text}" for key, one in chains.items() if one.verdict),
            lambda head: page.page(machine, traces, head=head),
        )


def _drawn(words: dict[str, Any]) -> dict[str, str]:
    template = _template()
    context = template.new_context(words)
    return {one: "".join(template.blocks[one.replace("-", "_")](context)) for one in SECTIONS}


def _absent(machine: Machine, query: Query, container: str) -> Trace:
    found = trace(machine, query)
    return found.with_chains(tuple(replace(one, owner=container) for one in found.chains))


def name(chain: Chain) -> str:
    """A chain as the tables have it: ``*:8080``, ``127.0.0.1:53/udp``."""
    place = f"*{chain.listen}" if chain.listen.startswith(":") else chain.listen
    return f"{place}/udp" if chain.protocol == "udp" else place
