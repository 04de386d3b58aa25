"""The report: the picture and, beside it, what the tools of host and guest would show, as one HTML page."""

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

from ...mapping.forward import Endpoint
from ..model import Container, Link, Machine, Network, Space, names
from ..rules.model import Rule
from ..trace import Chain, Trace, Verdict
from . import svg
from .rows import host_port, state_of
from .scene import chain_key, published
from .text import plain

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
    """The content of each element in `SECTIONS`, as HTML."""
    template, words = _template(), _words(machine, traces)
    context = template.new_context(words)
    return {name: "".join(template.blocks[name.replace("-", "_")](context)) for name in SECTIONS}


def page(machine: Machine, traces: Sequence[Trace], *, head: str | None = None) -> str:
    """The whole page. It needs nothing else, and forbids itself to ask for anything.

    With ``head`` that stands in place of its style, script and policy: HTML of a server that has these as files.
    """
    return _template().render(**_words(machine, traces), head=_own_head() if head is None else Markup(head))


def style() -> str:
    """The page's CSS, the picture's included."""
    return svg.style() + _file("page.css")


def script() -> str:
    """The page's script: it finds ports. The page is whole without it."""
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
        loader=PackageLoader("portchain.chain.draw"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["plain"] = lambda value: plain(str(value))
    environment.filters["names"] = names
    return environment.get_template("page.html")


def _words(machine: Machine, traces: Sequence[Trace]) -> dict[str, Any]:
    chains = list({chain_key(one): one for trace in traces for one in trace.chains}.values())
    seen = machine.guest.time if machine.guest else max((one.time for one in traces), default=0.0)
    space = machine.guest.space if machine.guest else Space()
    return {
        "machine": machine,
        "guest": machine.guest,
        "host": machine.host,
        "space": space,
        "chains": chains,
        "broken": [one for one in chains if one.verdict],
        "faults": list(_faults(chains)),
        "time": time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(seen)),
        "picture": Markup(svg.picture(machine, traces, embedded=True)),
        "state_of": state_of,
        "host_port": host_port,
        "anchor": anchor,
        "host_place": shown,
        "rules": list(_nat(space)),
        "members": lambda network: list(_members(machine, network)),
        "pairs": list(_pairs(machine)),
        "published": _published,
    }


def shown(end: Endpoint) -> str:
    """``*:8080``, ``127.0.0.1:8080``."""
    return end.place if end.address else f"*:{end.port}"


def anchor(chain: Chain) -> str:
    """The id of a chain's own element: ``chain-tcp-127.0.0.1:8080``."""
    return f"chain-{chain.protocol}-{chain.listen}"


def _nat(space: Space) -> Iterator[Rule]:
    """The rules that lead packets elsewhere, in the order of their tables."""
    for chain in space.rules.chains:
        yield from (rule for rule in chain.rules if rule.target.kind in ("dnat", "redirect"))


def _members(machine: Machine, network: Network) -> Iterator[tuple[Container, str]]:
    """The containers in a network, with their addresses there."""
    for container in machine.guest.containers if machine.guest else ():
        for one in container.attachments:
            if one.network_id == network.id or one.network == network.name:
                yield container, one.address or one.address6


def _pairs(machine: Machine) -> Iterator[tuple[Link, Link | None, str, str]]:
    """Bridges and veths of the guest: link, its other end, whose that is, and its bridge."""
    if machine.guest is None:
        return
    inner = {
        (link.index, link.peer): (container, link)
        for container in machine.guest.containers
        for link in (container.space.links if container.space else ())
        if link.peer
    }
    for link in machine.guest.space.links:
        container, end = inner.get((link.peer, link.index), (None, None)) if link.kind == "veth" else (None, None)
        master = machine.guest.space.link(link.master) if link.master else None
        yield link, end, container.name if container else "", master.name if master else ""


def _faults(chains: Sequence[Chain]) -> Iterable[list[Chain]]:
    """The broken chains, those with the same verdict together."""
    found: dict[Verdict, list[Chain]] = {}
    for one in chains:
        if one.verdict:
            found.setdefault(one.verdict, []).append(one)
    return found.values()


def _published(machine: Machine, container: Container) -> Iterator[str]:
    """What a container publishes as docker ps has it: ``*:8080->80/tcp``."""
    for host, inside, protocol in published(machine, container):
        yield f"{f'{shown(host)}->' if host else ''}{inside}/{protocol}"
