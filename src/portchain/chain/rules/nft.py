"""Reads what ``nft --json list ruleset`` prints: the tables that iptables did not make, which iptables-save shows."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from . import nft_values
from .model import HOOKS, Chain, Match, Rule, RuleSet, Target

Told = Mapping[str, Any]
_IPTABLES = {"raw", "mangle", "nat", "filter", "security"}
_VERDICTS = ("accept", "drop", "return", "continue", "jump", "goto")
_PASSING = ("counter", "log", "limit", "mangle", "notrack", "comment")
_FAMILIES = ("ip", "ip6", "inet")


def parse(text: str) -> RuleSet:
    """All native tables; what is not understood is told in ``unknown``."""
    try:
        told = [one for one in json.loads(text)["nftables"] if isinstance(one, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return RuleSet(unknown=("nft: the list of rules is not understood",) if text.strip() else ())
    chains: dict[tuple[str, str], Chain] = {}
    sets: dict[str, dict[str, list[Any]]] = {}
    odd: list[str] = []
    for kind, one in (next(iter(row.items())) for row in told if row):
        table = f"{one.get('family')} {one.get('table', one.get('name'))}" if isinstance(one, dict) else ""
        if not table or _by_iptables(one) or one.get("family") not in _FAMILIES:
            continue
        try:
            if kind == "chain":
                chains[table, one["name"]] = _chain(table, one)
            elif kind in ("set", "map"):
                sets.setdefault(table, {})[str(one["name"])] = list(one.get("elem", ()))
            elif kind == "rule":
                chain = chains[table, one["chain"]]
                made = tuple(_rules(table, one, sets.get(table, {})))
                chains[table, chain.name] = replace(chain, rules=chain.rules + made)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            odd.append(f"{table}: {kind} {str(one)[:200]}: {error!r}")
    return RuleSet(tuple(chains.values()), tuple(odd))


def _by_iptables(one: Told) -> bool:
    return one.get("family") in ("ip", "ip6") and str(one.get("table", one.get("name"))) in _IPTABLES


def _chain(table: str, told: Told) -> Chain:
    hook = str(told.get("hook", ""))
    kind = str(told.get("type", "filter"))
    return Chain(
        table,
        str(told["name"]),
        (),
        hook if hook in HOOKS else "",
        int(told.get("prio", 0)),
        str(told.get("policy", "accept")),
        kind,
    )


def _rules(table: str, told: Told, sets: nft_values.Sets) -> Iterator[Rule]:
    """A rule; one with a map in it is one for each of the map's elements."""
    statements: list[Told] = [one for one in told["expr"] if one]
    found: list[Match] = []
    words: list[str] = []
    counted: Told = {}
    for statement in statements:
        (kind, inner), *_ = statement.items()
        if kind == "match":
            found.append(nft_values.match(inner, sets))
            words.append(found[-1].text)
        elif kind == "counter" and isinstance(inner, dict):
            counted = inner
        elif kind in ("limit", "xt"):
            found.append(Match(kind, lambda *_: None))
            words.append(kind)
        elif kind not in _PASSING:
            words.append(_shown(kind, inner))
            text = f"{' '.join(words)} # handle {told.get('handle', '?')}"
            for more, target in _targets(kind, inner, sets):
                rule = Rule(table, str(told["chain"]), text, (*found, *more), target)
                yield replace(rule, packets=int(counted.get("packets", 0)), bytes=int(counted.get("bytes", 0)))


def _shown(kind: str, inner: Any) -> str:
    if kind in ("jump", "goto"):
        return f"{kind} {inner.get('target')}"
    if kind == "vmap":
        return f"{nft_values.shown(inner['key'])} vmap …"
    if kind in ("dnat", "snat", "redirect") and isinstance(inner, dict):
        address, port = inner.get("addr", ""), inner.get("port", "")
        place = f"{address if isinstance(address, str) else '…'}{f':{port}' if port else ''}"
        return f"{kind} to {place}"
    return kind


def _targets(kind: str, inner: Any, sets: nft_values.Sets) -> Iterator[tuple[tuple[Match, ...], Target]]:
    """What a statement does, with the conditions under which it does."""
    if kind == "vmap":
        for condition, verdict in _elements(inner, sets):
            (name, more), *_ = verdict.items()
            yield (condition,), _verdict(name, more)
    elif kind in ("dnat", "snat", "redirect"):
        told = inner or {}
        mapped = told.get("addr") if isinstance(told.get("addr"), dict) else None
        if mapped and "map" in mapped:
            for condition, value in _elements(mapped["map"], sets):
                yield (condition,), _place(kind, value, told.get("port"))
        else:
            yield (), _place(kind, told.get("addr", ""), told.get("port"))
    elif kind == "masquerade":
        yield (), Target("masquerade")
    elif kind == "reject" or kind in _VERDICTS:
        yield (), _verdict(kind, inner)


def _elements(told: Told, sets: nft_values.Sets) -> Iterator[tuple[Match, Any]]:
    """Each element of a map: the test of its key, and its value."""
    key, data = nft_values.key_of(told["key"]), told["data"]
    rows = sets.get(data[1:], []) if isinstance(data, str) else data["set"]
    for name, value in rows:
        test = nft_values.compare(key, "==", name, sets) if key else (lambda *_: None)
        yield Match(nft_values.shown(name), test), value


def _verdict(name: str, inner: Any) -> Target:
    if name in ("jump", "goto"):
        return Target(name, chain=str(inner["target"]))
    return Target("none" if name == "continue" else name)


def _place(kind: str, address: Any, port: Any) -> Target:
    if isinstance(address, dict) and "concat" in address:
        address, port = address["concat"]
    if isinstance(address, dict) or isinstance(port, dict):
        found = address if isinstance(address, dict) else port
        low = found["range"][0]
        address, port = ("", low) if isinstance(low, int) else (low, 0)
    return Target(kind, address=str(ipaddress.ip_address(address)) if address else "", port=int(port or 0))
