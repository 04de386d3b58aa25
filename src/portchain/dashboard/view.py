"""Draws what was seen of a machine as the sections of the dashboard: the report's, traffic, and what can be done."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from ..chain.draw import page
from ..chain.draw.text import plain
from ..chain.model import Machine
from ..chain.trace import Chain, Trace
from .changes import Picture
from .traffic import COUNTERS, Meter

SECTIONS = ("live-traffic", "live-containers", "live-services")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("portchain.dashboard"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["plain"] = lambda value: plain(str(value))
    return environment.get_template("live.html")


class View:
    """One after the other: traffic is the difference of two."""

    def __init__(self) -> None:
        self._meter = Meter()

    def draw(self, machine: Machine, traces: Sequence[Trace]) -> Picture:
        """The picture of a machine."""
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


def name(chain: Chain) -> str:
    """A chain as the tables have it: ``*:8080``, ``127.0.0.1:53/udp``."""
    place = f"*{chain.listen}" if chain.listen.startswith(":") else chain.listen
    return f"{place}/udp" if chain.protocol == "udp" else place
