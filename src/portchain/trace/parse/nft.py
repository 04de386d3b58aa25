"""Parse what ``nft --json list ruleset`` prints, except what iptables-save shows."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import islice
from typing import Any

from ..rules import marks, matches
from ..rules.filter_rules import HOOKS, Changes, Match, Packet, Rule, RuleChain, RuleSet, Target
from . import iptables, nft_values
from .nft_sets import Elements

JsonObject = Mapping[str, Any]
_VERDICTS = ("accept", "drop", "return", "continue", "jump", "goto")
# Statements that lead a packet nowhere and always succeed.
_PASSING = ("counter", "log", "comment", "ct helper", "ct timeout", "ct expectation", "secmark", "dup", "last", "flow")
_TRANSLATING = ("dnat", "snat", "redirect")
# With those that a rule's map stands for: some for each of its elements.
MOST_RULES = 200_000
_FAMILIES = ("ip", "ip6", "inet")


def parse(text: str, shown_tables: Container[str] = (), most_rules: int = MOST_RULES) -> RuleSet:
    """Parse all tables, without those chains of iptables that iptables-save shows for ``shown_tables``.

    What is not understood is described in ``RuleSet.unknown``. Rules beyond ``most_rules`` have an unknown target.
    """
    try:
        rows = [row for row in json.loads(text, strict=False)["nftables"] if isinstance(row, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return RuleSet(unknown=("nft: the list of rules is not understood",) if text.strip() else ())
    listing = _Listing(most_rules)
    for kind, entry in (next(iter(row.items())) for row in rows if row):
        if isinstance(entry, dict) and entry.get("family") in _FAMILIES:
            listing.add(kind, entry)
    return listing.rule_set(shown_tables)


class _Listing:
    """The entries of a listing, collected by table; each comes after those that it refers to."""

    def __init__(self, most_rules: int) -> None:
        self._chains: dict[tuple[str, str], RuleChain] = {}
        self._rules: dict[tuple[str, str], list[Rule]] = {}
        self._sets: dict[str, dict[str, Elements]] = {}
        self._dormant: set[str] = set()
        self._unknown: list[str] = []
        self._rules_left = most_rules

    def add(self, kind: str, entry: JsonObject) -> None:
        """Add a table, chain, set, map or rule; pass over other kinds."""
        table = f"{entry.get('family')} {entry.get('table', entry.get('name'))}"
        try:
            if kind == "table" and _is_dormant(entry.get("flags")):
                self._dormant.add(table)
            elif kind == "chain":
                self._chains[table, entry["name"]] = _parse_chain(table, entry)
            elif kind in ("set", "map"):
                self._sets.setdefault(table, {})[str(entry["name"])] = Elements(entry.get("elem", ()))
            elif kind == "rule":
                rules = _parse_rule(table, entry, self._sets.get(table, {}), self._rules_left)
                self._rules_left -= len(rules)
                self._rules.setdefault((table, entry["chain"]), []).extend(rules)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._unknown.append(f"{table}: {kind} {str(entry)[:200]}: {error!r}")

    def rule_set(self, shown_tables: Container[str]) -> RuleSet:
        """Return the chains with their rules, of tables that are awake and have a base chain of nft's own."""
        kept = [c for c in self._chains.values() if c.table not in shown_tables or not _is_from_iptables(c)]
        active_tables = {chain.table for chain in kept if chain.hook} - self._dormant
        chains = (
            replace(chain, rules=tuple(self._rules.get((chain.table, chain.name), ())))
            for chain in kept
            if chain.table in active_tables
        )
        return RuleSet(tuple(chains), tuple(self._unknown))


def _is_dormant(flags: Any) -> bool:
    """Tell whether a table's flags say that it is dormant; nft 1.0 writes only the word's first letter."""
    return any(str(flag).startswith("d") for flag in (flags if isinstance(flags, list) else [flags]) if flag)


def _is_from_iptables(chain: RuleChain) -> bool:
    """Tell whether it is a base chain with the name that iptables gives it."""
    return bool(chain.hook) and chain.name == chain.hook.upper()


def _parse_chain(table: str, entry: JsonObject) -> RuleChain:
    hook = str(entry.get("hook", ""))
    kind = str(entry.get("type", "filter"))
    return RuleChain(
        table,
        str(entry["name"]),
        (),
        hook if hook in HOOKS else "",
        int(entry.get("prio", 0)),
        str(entry.get("policy", "accept")),
        kind,
    )


def _parse_rule(table: str, entry: JsonObject, sets: nft_values.Sets, most: int) -> list[Rule]:
    """Parse a rule to one or several; what is not understood, or exceeds ``most``, has an unknown target."""
    blank = Rule(table, str(entry["chain"]), f"# handle {entry.get('handle', '?')}")
    try:
        rules = list(islice(_rules(blank, entry["expr"], sets), most + 1))
        if len(rules) > most:
            raise ValueError("too many")
        return rules
    except (ValueError, KeyError, TypeError, AttributeError):
        return [replace(blank, text=f"? {blank.text}", target=Target("unknown"))]


def _rules(blank: Rule, statements: Sequence[JsonObject], sets: nft_values.Sets) -> Iterator[Rule]:
    """Expand a rule: one that has a map in it becomes one for each of the map's elements."""
    conditions: list[Match] = []
    texts: list[str] = []
    changes: list[Changes] = []
    ended = False

    def rule_to(target: Target, extra: Sequence[Match] = ()) -> Rule:
        text = " ".join((*texts, blank.text))
        return replace(blank, text=text, matches=(*conditions, *extra), target=replace(target, changes=_all(changes)))

    for statement in filter(None, statements):
        (kind, inner), *_ = statement.items()
        if kind == "counter" and isinstance(inner, dict):
            blank = replace(blank, packets=int(inner.get("packets", 0)), bytes=int(inner.get("bytes", 0)))
        elif kind in _PASSING or _adds(kind, inner):
            continue
        elif kind == "match":
            conditions.append(nft_values.match(inner, sets))
            texts.append(conditions[-1].text)
        elif change := _changes(kind, inner):
            changes.append(change)
            texts.append(_format_statement(kind, inner))
        elif kind in _ENDING or (kind == "xt" and inner["type"] == "target"):
            texts.append(_format_statement(kind, inner))
            yield from (rule_to(target, extra) for extra, target in _targets(kind, inner, sets))
            if kind == "vmap":
                conditions.append(_continued(inner, sets))
            changes, ended = [], kind != "vmap"
        else:
            conditions.append(Match(kind, matches.unknown))
            texts.append(kind)
    if changes and not ended:
        yield rule_to(Target("none"))


_ENDING = (*_VERDICTS, *_TRANSLATING, "masquerade", "reject", "vmap", "queue", "tproxy", "synproxy", "fwd")


def _adds(kind: str, inner: Any) -> bool:
    """Tell whether it adds to a set, whatever the rate."""
    return kind in ("set", "map") and not inner.get("stmt")


def _changes(kind: str, inner: Any) -> Changes | None:
    """Return what a statement does to the packet's marks or connection state."""
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
    """Return all changes as one."""
    steps = tuple(changes)
    return (lambda packet: reduce(lambda packet, change: change(packet), steps, packet)) if steps else None


def _format_statement(kind: str, inner: Any) -> str:
    if kind in ("jump", "goto"):
        return f"{kind} {inner.get('target')}"
    if kind == "mangle":
        return f"{nft_values.format_expression(inner['key'])} set {nft_values.format_expression(inner['value'])}"
    if kind == "vmap":
        return f"{nft_values.format_expression(inner['key'])} vmap …"
    if kind in _TRANSLATING and isinstance(inner, dict):
        address, port = inner.get("addr", ""), inner.get("port", "")
        suffix = f":{port if isinstance(port, int) else '…'}" if port else ""
        return f"{kind} to {address if isinstance(address, str) else '…'}{suffix}"
    return kind


def _targets(kind: str, inner: Any, sets: nft_values.Sets) -> Iterator[tuple[tuple[Match, ...], Target]]:
    """Return each target of a statement with the conditions under which it applies."""
    if kind == "vmap":
        for condition, verdict in _elements(inner, sets):
            (name, arguments), *_ = verdict.items()
            yield (condition,), _verdict(name, arguments)
    elif kind in _TRANSLATING:
        options = inner or {}
        implied = tuple(_implied(options.get("family")))
        map_key = next(
            (key for key in ("addr", "port") if isinstance(options.get(key), dict) and "map" in options[key]), None
        )
        if map_key is None:
            yield implied, _translation(kind, options)
            return
        for condition, value in _elements(options[map_key]["map"], sets):
            yield (*implied, condition), _translation(kind, {**options, map_key: value})
    elif kind == "reject":
        yield tuple(_implied((inner or {}).get("type"))), Target("reject")
    elif kind in _VERDICTS:
        yield (), _verdict(kind, inner)
    else:
        yield (), iptables.target(inner["name"]) if kind == "xt" else Target({"masquerade": kind}.get(kind, "unknown"))


def _implied(name: Any) -> Iterator[Match]:
    """Return the condition that nft adds for a family or a way to reject, and does not show."""
    if name == "tcp reset":
        yield Match("meta l4proto tcp", matches.protocol(["tcp"]))
    elif name in ("ip", "ip6", "icmp", "icmpv6"):
        yield Match(f"meta nfproto {name}", matches.family("ip" if name in ("ip", "icmp") else "ip6"))


def _elements(lookup: JsonObject, sets: nft_values.Sets) -> Iterator[tuple[Match, Any]]:
    """Return each element of a map: the test of its key, and its value; the default comes last."""
    key, data = nft_values.key_of(lookup["key"]), lookup["data"]
    rows = sets[data[1:]].rows if isinstance(data, str) else data["set"]
    for element, value in sorted(rows, key=lambda row: row[0] == "*"):
        test = nft_values.compare(key, "==", element, sets) if key else matches.unknown
        yield Match(nft_values.format_expression(element), test), value


def _continued(lookup: JsonObject, sets: nft_values.Sets) -> Match:
    """Return the condition that a verdict map says ``continue``: only then the rule goes on."""
    tests = [condition.test for condition, verdict in _elements(lookup, sets) if "continue" in verdict]

    def test(packet: Packet, local: Callable[[str], bool]) -> bool | None:
        results = [test_of(packet, local) for test_of in tests]
        return True if True in results else None if None in results else False

    return Match("continue", test)


def _verdict(name: str, inner: Any) -> Target:
    if name in ("jump", "goto"):
        return Target(name, chain=str(inner["target"]))
    return Target({"continue": "none", "queue": "unknown"}.get(name, name))


def _translation(kind: str, options: JsonObject) -> Target:
    """Parse where a packet is led; a choice of the kernel's, among addresses or by chance, is unknown."""
    address, port = options.get("addr") or "", options.get("port")
    if isinstance(address, dict) and "concat" in address:
        address, port = address["concat"]
    by_chance = isinstance(port, dict) and "random" in str(options.get("flags"))
    if isinstance(address, dict) or by_chance:
        return Target(kind if kind == "snat" else "unknown")
    low, high = port["range"] if isinstance(port, dict) else (port or 0, port or 0)
    ports = (int(low), int(high)) if low else None
    return Target(kind, address=str(ipaddress.ip_address(address)) if address else "", ports=ports)
