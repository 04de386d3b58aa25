"""Render a machine as the sections of the dashboard: the report's, traffic, and buttons."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from ..trace.chain import Trace
from ..trace.model import Machine
from ..trace.render import report_page
from ..trace.render.rows import host_port
from ..trace.render.text_width import plain
from .page_changes import Picture
from .traffic import COUNTERS, RateMeter

SECTIONS = ("live-traffic", "live-containers", "live-services")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("portchain.dashboard"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["plain"] = lambda value: plain(str(value))
    return environment.get_template("live.html")


class LivePage:
    """Renders one picture after the other: traffic is the difference of two."""

    def __init__(self) -> None:
        self._meter = RateMeter()

    def draw(self, machine: Machine, traces: Sequence[Trace]) -> Picture:
        """Return the picture of a machine."""
        chains = {host_port(chain): chain for trace in traces for chain in trace.chains}
        time = max((chain.time for chain in traces), default=0.0)
        counts = self._meter.read(chains, time)
        variables = {
            "containers": machine.guest.containers if machine.guest else (),
            "services": machine.guest.services if machine.guest else (),
            "rows": [(key, chain, counts[key]) for key, chain in chains.items()],
            "counters": [counter[0] for counter in COUNTERS],
            "anchor": report_page.anchor,
        }
        return Picture(
            report_page.sections(machine, traces) | _drawn(variables),
            tuple(f"{key} ({chain.owner}): {chain.verdict.text}" for key, chain in chains.items() if chain.verdict),
            lambda head: report_page.page(machine, traces, head=head),
        )


def _drawn(variables: dict[str, Any]) -> dict[str, str]:
    template = _template()
    context = template.new_context(variables)
    return {section: "".join(template.blocks[section.replace("-", "_")](context)) for section in SECTIONS}
