"""Render the report as one HTML page: the picture and, beside it, what the tools of host and guest would show."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from ..chain import Chain, Trace, Verdict
from ..model import Container, Link, Machine, Network, NetworkNamespace, WantedPublication, format_processes
from ..rules.filter_rules import Rule
from ..unpublished import unpublished
from . import svg
from .rows import host_port, state_of
from .scene import chain_key, published
from .text_width import plain

# The elements whose content changes with the machine, by their ids.
SECTIONS = (
    "summary",
    "verdicts",
    "picture",
    "chains",
    "containers",
    "host-listeners",
    "guest-listeners",
    "nat-rules",
    "networks",
    "links",
    "services",
)


def sections(machine: Machine, traces: Sequence[Trace]) -> dict[str, str]:
    """Return the content of each element in `SECTIONS`, as HTML."""
    template, variables = _template(), _words(machine, traces)
    context = template.new_context(variables)
    return {name: "".join(template.blocks[name.replace("-", "_")](context)) for name in SECTIONS}


def page(machine: Machine, traces: Sequence[Trace], *, head: str | None = None) -> str:
    """Return the whole page, which loads nothing and has a policy that forbids it to.

    With ``head`` that stands in place of its style, script and policy: HTML of a server that has these as files.
    """
    return _template().render(**_words(machine, traces), head=_own_head() if head is None else Markup(head))


def style() -> str:
    """Return the page's CSS, the picture's included."""
    return svg.style() + _file("page.css")


def script() -> str:
    """Return the page's script, which finds ports; the page is complete without it."""
    return _file("page.js")


def _file(name: str) -> str:
    return files(__package__).joinpath("templates", name).read_text()


def _own_head() -> Markup:
    css, code = style(), script()
    policy = (
        f"default-src 'none'; style-src {_digest(css)}; script-src {_digest(code)}; base-uri 'none'; form-action 'none'"
    )
    return Markup(
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{css}</style>\n'
        f'<script type="module">{code}</script>'
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("portchain.trace.render"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["plain"] = lambda value: plain(str(value))
    environment.filters["names"] = format_processes
    return environment.get_template("page.html")


def _words(machine: Machine, traces: Sequence[Trace]) -> dict[str, Any]:
    chains = list({chain_key(chain): chain for trace in traces for chain in trace.chains}.values())
    time_seen = machine.guest.time if machine.guest else max((chain.time for chain in traces), default=0.0)
    space = machine.guest.space if machine.guest else NetworkNamespace()
    return {
        "machine": machine,
        "guest": machine.guest,
        "host": machine.host,
        "space": space,
        "chains": chains,
        "broken": [chain for chain in chains if chain.verdict],
        "faults": list(_faults(chains)),
        "time": time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(time_seen)),
        "picture": Markup(svg.picture(machine, traces, embedded=True)),
        "state_of": state_of,
        "host_port": host_port,
        "anchor": anchor,
        "rules": list(_nat(space)),
        "members": lambda network: list(_members(machine, network)),
        "pairs": list(_pairs(machine)),
        "published": _published,
        "unpublished": unpublished(machine.guest),
    }


def anchor(chain: Chain) -> str:
    """Return the id of a chain's own element: ``chain-tcp-127.0.0.1:8080``."""
    return f"chain-{chain.protocol}-{chain.listen}"


def _nat(space: NetworkNamespace) -> Iterator[Rule]:
    """Return the rules that lead packets elsewhere, in the order of their tables."""
    for chain in space.rules.chains:
        yield from (rule for rule in chain.rules if rule.target.kind in ("dnat", "redirect"))


def _members(machine: Machine, network: Network) -> Iterator[tuple[Container, str]]:
    """Return the containers in a network, with their addresses there."""
    for container in machine.guest.containers if machine.guest else ():
        for attachment in container.attachments:
            if attachment.network_id == network.id or attachment.network == network.name:
                yield container, attachment.address or attachment.address6


def _pairs(machine: Machine) -> Iterator[tuple[Link, Link | None, str, str]]:
    """Return the guest's bridges and veths: link, its other end, whose that is, and its bridge."""
    if machine.guest is None:
        return
    inner = {
        (link.index, link.peer): (container, link)
        for container in machine.guest.containers
        for link in (container.space.links if container.space else ())
        if link.peer
    }
    for link in machine.guest.space.links:
        container, other_end = inner.get((link.peer, link.index), (None, None)) if link.kind == "veth" else (None, None)
        master = machine.guest.space.link(link.master) if link.master else None
        yield link, other_end, container.name if container else "", master.name if master else ""


def _faults(chains: Sequence[Chain]) -> Iterable[list[Chain]]:
    """Return the broken chains, grouped by verdict."""
    groups: dict[Verdict, list[Chain]] = {}
    for chain in chains:
        if chain.verdict:
            groups.setdefault(chain.verdict, []).append(chain)
    return groups.values()


def _published(machine: Machine, container: Container) -> Iterator[str]:
    """Return what a container publishes as docker ps has it: ``*:8080->80/tcp``."""
    for host, port, protocol in published(machine, container):
        yield str(WantedPublication(port, protocol, host, None))
