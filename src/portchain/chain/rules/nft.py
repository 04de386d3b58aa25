"""Reads what ``nft --json list ruleset`` prints, but for what iptables-save shows."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import islice
from typing import Any

from . import iptables, marks, matches, nft_values
from .model import HOOKS, Chain, Changes, Match, Packet, Rule, RuleSet, Target
from .nft_sets import Elements

Told = Mapping[str, Any]
_VERDICTS = ("accept", "drop", "return", "continue", "jump", "goto")
# Statements that lead a packet nowhere and always succeed.
_PASSING = ("counter", "log", "comment", "ct helper", "ct timeout", "ct expectation", "secmark", "dup", "last", "flow")
_TRANSLATING = ("dnat", "snat", "redirect")
# With those that a rule's map stands for: some for each of its elements.
_MOST_RULES = 200_000
_FAMILIES = ("ip", "ip6", "inet")


def parse(text: str, shown: Container[str] = ()) -> RuleSet:
    """All tables, without the chains of iptables in those that iptables-save has ``shown``.

    What is not understood is told in ``unknown``.
    """
    try:
        told = [one for one in json.loads(text)["nftables"] if isinstance(one, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return RuleSet(unknown=("nft: the list of rules is not understood",) if text.strip() else ())
    chains: dict[tuple[str, str], Chain] = {}
    rules: dict[tuple[str, str], list[Rule]] = {}
    sets: dict[str, dict[str, Elements]] = {}
    asleep: set[str] = set()
    odd: list[str] = []
    left = _MOST_RULES
    for kind, one in (next(iter(row.items())) for row in told if row):
        table = f"{one.get('family')} {one.get('table', one.get('name'))}" if isinstance(one, dict) else ""
        if not table or one.get("family") not in _FAMILIES:
            continue
        try:
            if kind == "table" and _dormant(one.get("flags")):
                asleep.add(table)
            elif kind == "chain":
                chains[table, one["name"]] = _chain(table, one)
            elif kind in ("set", "map"):
                sets.setdefault(table, {})[str(one["name"])] = Elements(one.get("elem", ()))
            elif kind == "rule":
                made = _read(table, one, sets.get(table, {}), left)
                left -= len(made)
                rules.setdefault((table, one["chain"]), []).extend(made)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            odd.append(f"{table}: {kind} {str(one)[:200]}: {error!r}")
    bases = [one for one in chains.values() if one.hook and not (one.table in shown and _by_iptables(one))]
    own = {one.table for one in bases} - asleep
    whole = (replace(one, rules=tuple(rules.get(key, ()))) for key, one in chains.items() if one.table in own)
    return RuleSet(tuple(one for one in whole if one.table not in shown or not _by_iptables(one)), tuple(odd))


def _dormant(flags: Any) -> bool:
    """Whether the flags of a table say that it sleeps; nft 1.0 writes but the first letter of the word."""
    return any(str(one).startswith("d") for one in (flags if isinstance(flags, list) else [flags]) if one)


def _by_iptables(chain: Chain) -> bool:
    """Whether it is a base chain that is named as iptables names them."""
    return bool(chain.hook) and chain.name == chain.hook.upper()


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


def _read(table: str, told: Told, sets: nft_values.Sets, most: int) -> list[Rule]:
    """The rules of one; one that is not understood, or is more than ``most``, is of an unknown target."""
    blank = Rule(table, str(told["chain"]), f"# handle {told.get('handle', '?')}")
    try:
        made = list(islice(_rules(blank, told["expr"], sets), most + 1))
        if len(made) > most:
            raise ValueError("too many")
        return made
    except (ValueError, KeyError, TypeError, AttributeError):
        return [replace(blank, text=f"? {blank.text}", target=Target("unknown"))]


def _rules(blank: Rule, statements: Sequence[Told], sets: nft_values.Sets) -> Iterator[Rule]:
    """A rule; one with a map in it is one for each of the map's elements."""
    found: list[Match] = []
    words: list[str] = []
    changes: list[Changes] = []
    ended = False

    def made(target: Target, more: Sequence[Match] = ()) -> Rule:
        text = " ".join((*words, blank.text))
        return replace(blank, text=text, matches=(*found, *more), target=replace(target, changes=_all(changes)))

    for statement in filter(None, statements):
        (kind, inner), *_ = statement.items()
        if kind == "counter" and isinstance(inner, dict):
            blank = replace(blank, packets=int(inner.get("packets", 0)), bytes=int(inner.get("bytes", 0)))
        elif kind in _PASSING or _adds(kind, inner):
            continue
        elif kind == "match":
            found.append(nft_values.match(inner, sets))
            words.append(found[-1].text)
        elif change := _changes(kind, inner):
            changes.append(change)
            words.append(_shown(kind, inner))
        elif kind in _ENDING or (kind == "xt" and inner["type"] == "target"):
            words.append(_shown(kind, inner))
            yield from (made(target, more) for more, target in _targets(kind, inner, sets))
            if kind == "vmap":
                found.append(_continued(inner, sets))
            changes, ended = [], kind != "vmap"
        else:
            found.append(Match(kind, matches.unknown))
            words.append(kind)
    if changes and not ended:
        yield made(Target("none"))


_ENDING = (*_VERDICTS, *_TRANSLATING, "masquerade", "reject", "vmap", "queue", "tproxy", "synproxy", "fwd")


def _adds(kind: str, inner: Any) -> bool:
    """Whether it adds to a set, whatever the rate."""
    return kind in ("set", "map") and not inner.get("stmt")


def _changes(kind: str, inner: Any) -> Changes | None:
    """What a statement does to the packet's marks or state."""
    if kind == "notrack":
        return marks.untracked
    if kind != "mangle":
        return None
    which = {"meta": "mark", "ct": "connection_mark"}.get(key := next(iter(inner["key"])))
    if which is None:
        raise ValueError("what it sets is not a mark")
    if inner["key"][key].get("key") != "mark":
        return marks.none
    value = nft_values.number(inner["value"])
    return marks.put(which, value) if value else marks.lost(which)


def _all(changes: Sequence[Changes]) -> Changes | None:
    several = tuple(changes)
    return (lambda packet: reduce(lambda seen, change: change(seen), several, packet)) if several else None


def _shown(kind: str, inner: Any) -> str:
    if kind in ("jump", "goto"):
        return f"{kind} {inner.get('target')}"
    if kind == "mangle":
        return f"{nft_values.shown(inner['key'])} set {nft_values.shown(inner['value'])}"
    if kind == "vmap":
        return f"{nft_values.shown(inner['key'])} vmap …"
    if kind in _TRANSLATING and isinstance(inner, dict):
        address, port = inner.get("addr", ""), inner.get("port", "")
        shown = f":{port if isinstance(port, int) else '…'}" if port else ""
        return f"{kind} to {address if isinstance(address, str) else '…'}{shown}"
    return kind


def _targets(kind: str, inner: Any, sets: nft_values.Sets) -> Iterator[tuple[tuple[Match, ...], Target]]:
    """What a statement does, with the conditions under which it does."""
    if kind == "vmap":
        for condition, verdict in _elements(inner, sets):
            (name, more), *_ = verdict.items()
            yield (condition,), _verdict(name, more)
    elif kind in _TRANSLATING:
        told = inner or {}
        only = tuple(_implied(told.get("family")))
        mapped = next((key for key in ("addr", "port") if isinstance(told.get(key), dict) and "map" in told[key]), None)
        if mapped is None:
            yield only, _place(kind, told)
            return
        for condition, value in _elements(told[mapped]["map"], sets):
            yield (*only, condition), _place(kind, {**told, mapped: value})
    elif kind == "reject":
        yield tuple(_implied((inner or {}).get("type"))), Target("reject")
    elif kind in _VERDICTS:
        yield (), _verdict(kind, inner)
    else:
        yield (), iptables.target(inner["name"]) if kind == "xt" else Target({"masquerade": kind}.get(kind, "unknown"))


def _implied(word: Any) -> Iterator[Match]:
    """The condition that nft adds for a family or a way to reject, and does not show."""
    if word == "tcp reset":
        yield Match("meta l4proto tcp", matches.protocol(["tcp"]))
    elif word in ("ip", "ip6", "icmp", "icmpv6"):
        yield Match(f"meta nfproto {word}", matches.family("ip" if word in ("ip", "icmp") else "ip6"))


def _elements(told: Told, sets: nft_values.Sets) -> Iterator[tuple[Match, Any]]:
    """Each element of a map: the test of its key, and its value; the one that is for all the rest last."""
    key, data = nft_values.key_of(told["key"]), told["data"]
    rows = sets[data[1:]].rows if isinstance(data, str) else data["set"]
    for name, value in sorted(rows, key=lambda row: row[0] == "*"):
        test = nft_values.compare(key, "==", name, sets) if key else matches.unknown
        yield Match(nft_values.shown(name), test), value


def _continued(told: Told, sets: nft_values.Sets) -> Match:
    """That a map of verdicts says ``continue``: only then its rule goes on."""
    tests = [condition.test for condition, verdict in _elements(told, sets) if "continue" in verdict]

    def test(packet: Packet, local: Callable[[str], bool]) -> bool | None:
        found = [one(packet, local) for one in tests]
        return True if True in found else None if None in found else False

    return Match("continue", test)


def _verdict(name: str, inner: Any) -> Target:
    if name in ("jump", "goto"):
        return Target(name, chain=str(inner["target"]))
    return Target({"continue": "none", "queue": "unknown"}.get(name, name))


def _place(kind: str, told: Told) -> Target:
    """Where a packet is led; the kernel's choice among addresses, or by chance, cannot be known."""
    address, port = told.get("addr") or "", told.get("port")
    if isinstance(address, dict) and "concat" in address:
        address, port = address["concat"]
    by_chance = isinstance(port, dict) and "random" in str(told.get("flags"))
    if isinstance(address, dict) or by_chance:
        return Target(kind if kind == "snat" else "unknown")
    low, high = port["range"] if isinstance(port, dict) else (port or 0, port or 0)
    ports = (int(low), int(high)) if low else None
    return Target(kind, address=str(ipaddress.ip_address(address)) if address else "", ports=ports)
