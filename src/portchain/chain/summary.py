"""Chains in a line each: what of them stays the same as long as nobody changes them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .draw.text import plain
from .trace import Chain, Hop, Trace

_ARROW = " → "
_MAX_LINE = 2000  # characters


def snapshot(traces: Iterable[Trace]) -> str:
    """A line a chain, sorted: no process, counter, time or name that is made up anew when a container starts."""
    lines = {line(chain) for trace in traces for chain in trace.chains}
    return "".join(f"{one}\n" for one in sorted(lines))


def line(chain: Chain) -> str:
    """``tcp :8080 → 0.0.0.0:8080 → 172.17.0.2:8080 → bridge → nginx``; a broken one ends where it breaks."""
    places = [_place(hop) for hop in chain.hops if hop.state == "ok"]
    end = [f"broken: {chain.verdict.code}"] if chain.verdict else []
    return plain(_ARROW.join([f"{chain.protocol} {chain.listen}", *filter(None, places), *end]))


def _place(hop: Hop) -> str:
    facts = hop.facts
    return str(
        {
            "guest-listener": facts.get("listen"),
            "nat": facts.get("to"),
            "bridge": facts.get("network") or facts.get("name"),
            "container": facts.get("name"),
        }.get(hop.kind)
        or ""
    )


def failure(chain: Chain) -> str:
    """What is broken, the way to there, and the remedy: three lines."""
    verdict = chain.verdict
    assert verdict
    way = [hop.title for hop in chain.hops if hop.state in ("ok", "unknown")]
    lines = (
        f"{chain.protocol} {chain.listen} is broken at {verdict.hop}: {verdict.text}",
        f"  the way: {_ARROW.join([*way, f'✗ {verdict.hop}'])}",
        f"  to do: {verdict.remedy}",
    )
    return "\n".join(plain(one, _MAX_LINE) for one in lines)


# What may be expected of a chain, and where a trace has it.
EXPECTED = {
    "guest": ("guest-listener", "listen"),
    "to": ("nat", "to"),
    "network": ("bridge", "network"),
    "bridge": ("bridge", "name"),
    "container": ("container", "name"),
}


def missed(wanted: Mapping[str, Any], traces: Iterable[Trace]) -> list[str]:
    """How the chains differ from one that is ``wanted``; a line each.

    It has a ``port``, a ``protocol``, tcp where it has none, and any of EXPECTED.
    """
    port, protocol = f":{wanted['port']}", wanted.get("protocol") or "tcp"
    all_chains = [chain for trace in traces for chain in trace.chains]
    chains = [one for one in all_chains if one.listen.endswith(port) and one.protocol == protocol]
    if not chains:
        return [f"nothing is forwarded from {protocol} port {wanted['port']}"]
    found = []
    for word, (kind, fact) in EXPECTED.items():
        hop = chains[0].hop(kind)
        seen = hop.facts.get(fact) if hop else None
        if wanted.get(word) and seen != wanted[word]:
            place = f"{chains[0].protocol} {chains[0].listen}"
            found.append(f"{place}: {word} is {plain(str(seen or 'none'))}, not {wanted[word]}")
    return found
