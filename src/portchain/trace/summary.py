"""Chains as one line each, with only what stays the same as long as nobody changes them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..ports.forward import Endpoint
from .chain import Chain, Hop, Trace
from .query import Query
from .render.text_width import plain
from .unpublished import Unpublished

_ARROW = " → "
_MAX_LINE = 2000  # characters


def snapshot(traces: Iterable[Trace]) -> str:
    """Return one sorted line a chain, without processes, counters, times and names that differ at each start."""
    lines = {line(chain) for trace in traces for chain in trace.chains}
    return "".join(f"{text}\n" for text in sorted(lines))


def line(chain: Chain) -> str:
    """Return ``tcp :8080 → 0.0.0.0:8080 → 172.17.0.2:8080 → bridge → nginx``; a broken one ends where it breaks."""
    steps = [_hop_identity(hop) for hop in chain.hops if hop.state == "ok"]
    end = [f"broken: {chain.verdict.code}"] if chain.verdict else []
    return plain(_ARROW.join([f"{chain.protocol} {chain.listen}", *filter(None, steps), *end]))


def _hop_identity(hop: Hop) -> str:
    """Return what identifies a hop."""
    facts = hop.facts
    return str(
        {
            "guest-listener": facts.get("listen"),
            "proxy": f"docker-proxy {facts.get('to')}",
            "nat": facts.get("to"),
            "bridge": facts.get("network") or facts.get("name"),
            "container": facts.get("name"),
        }.get(hop.kind)
        or ""
    )


def describe_failure(chain: Chain) -> str:
    """Return what is broken, the hops up to there, and the remedy: three lines."""
    verdict = chain.verdict
    assert verdict
    titles = [hop.title for hop in chain.hops if hop.state in ("ok", "unknown")]
    lines = (
        f"{chain.protocol} {chain.listen} is broken at {verdict.hop}: {verdict.text}",
        f"  the way: {_ARROW.join([*titles, f'✗ {verdict.hop}'])}",
        f"  to do: {verdict.remedy}",
    )
    return "\n".join(plain(text, _MAX_LINE) for text in lines)


# What may be expected of a chain's hops, and where a trace has it; "lead" is a nat rule or docker-proxy.
EXPECTED = {
    "guest": ("guest-listener", "listen"),
    "to": ("lead", "to"),
    "network": ("bridge", "network"),
    "bridge": ("bridge", "name"),
    "container": ("container", "name"),
}


def differences(
    wanted: Mapping[str, Any], traces: Iterable[Trace], unpublished: Iterable[Unpublished] = ()
) -> list[str]:
    """Return how the chains differ from the ``wanted`` one, a line each; ``unpublished`` may explain it.

    ``wanted`` has a ``port``, perhaps at an ``address``, or a ``container`` and its ``container_port``; a ``protocol``,
    tcp by default; and any of EXPECTED, ``container_port`` and ``target``. A broken chain has its verdict, and is not
    compared.
    """
    chains = [chain for trace in traces for chain in trace.chains]
    meant = [chain for chain in chains if _is_meant(wanted, chain)]
    if not meant:
        return [_absent(wanted, unpublished)]
    return min(([] if chain.verdict else _compare(wanted, chain) for chain in meant), key=len)


def _is_meant(wanted: Mapping[str, Any], chain: Chain) -> bool:
    if chain.protocol != _protocol(wanted):
        return False
    if wanted.get("port"):
        query = Query(wanted["port"], chain.protocol, wanted.get("address") or "")
        return query.asks_for(Endpoint.parse(chain.listen, chain.protocol))
    values = _values(chain)
    return (values["container"], values["container_port"]) == (wanted["container"], str(wanted["container_port"]))


def _compare(wanted: Mapping[str, Any], chain: Chain) -> list[str]:
    name = f"{chain.protocol} {chain.listen}"
    return [
        f"{name}: {key} is {plain(str(value or 'none'))}, not {wanted[key]}"
        for key, value in _values(chain).items()
        if wanted.get(key) and str(value) != str(wanted[key])
    ]


def _values(chain: Chain) -> dict[str, Any]:
    """Return the values of a chain that may be expected of it; None where it has none."""
    hops = {word: chain.redirect_hop if kind == "lead" else chain.hop(kind) for word, (kind, _) in EXPECTED.items()}
    facts = {word: hop.facts.get(EXPECTED[word][1]) if hop else None for word, hop in hops.items()}
    return {"target": chain.target, **facts, "container_port": chain.redirect_target.rpartition(":")[2] or None}


def _absent(wanted: Mapping[str, Any], unpublished: Iterable[Unpublished]) -> str:
    protocol, port, container = _protocol(wanted), wanted.get("port"), wanted.get("container")
    inside = f"{protocol} port {wanted.get('container_port')} of container {container}"
    end = re.compile(rf":{port}->\d+/{protocol}$" if port else rf"\b{wanted.get('container_port')}/{protocol}$")
    reasons = [
        f"; {plain(str(entry))}"
        for entry in unpublished
        if container in (None, entry.container) and any(map(end.search, entry.ports))
    ]
    text = f"nothing is forwarded from {protocol} port {port}" if port else f"nothing is forwarded to {inside}"
    if port and wanted.get("container_port"):
        text += f", which is to lead to {inside}"
    if wanted.get("target"):
        text += f", which is to lead to {wanted['target']} in the guest; playbooks/forwarder.yml declares it"
    if container and not reasons:
        text += f"; docker ps --all shows whether {container} runs, playbooks/workloads.yml starts it"
    return text + "".join(reasons)


def _protocol(wanted: Mapping[str, Any]) -> str:
    return wanted.get("protocol") or "tcp"
