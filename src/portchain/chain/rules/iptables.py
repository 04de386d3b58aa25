"""Reads what ``iptables-save -c`` and ``ip6tables-save -c`` print."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache

from . import matches
from .model import Chain, Match, Matches, Rule, RuleSet, Target

_PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
_SOURCE_NAT = 100
_HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_PLAIN = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject", "RETURN": "return", "MASQUERADE": "masquerade"}
# Targets after which the packet goes on to the next rule.
_PASSING = {
    "LOG",
    "NFLOG",
    "ULOG",
    "MARK",
    "CONNMARK",
    "TCPMSS",
    "CT",
    "TRACE",
    "CLASSIFY",
    "DSCP",
    "TOS",
    "SET",
    "TTL",
}
_TARGET_OPTIONS = ("--to-destination", "--to-source", "--to-ports")
_MAX_LINES = 200_000
_MOST_MATCHES = 20_000
# Modules all of whose tests are known, but for options that are told by name.
_MODULES = {"tcp", "udp", "comment", "addrtype", "conntrack", "state", "multiport", "mark", "iprange"}
# Options of targets, and words for people.
_INERT = {"--comment", "--random", "--random-fully", "--persistent", "--reject-with", "--log-prefix", "--log-level"}


def parse(text: str, family: str = "ip") -> RuleSet:
    """All tables of one family; lines that are not understood are told in ``unknown``."""
    chains: dict[tuple[str, str], Chain] = {}
    rules: dict[tuple[str, str], list[Rule]] = {}
    odd: list[str] = []
    table = ""
    for line in text.splitlines()[:_MAX_LINES]:
        if line.startswith("*"):
            table = f"{family} {line[1:].strip()}"
        elif line.startswith(":") and table:
            chain = _chain(table, line)
            chains[table, chain.name] = chain
        elif line.startswith(("[", "-A")) and table:
            try:
                rule, unread = _rule(table, line)
            except (ValueError, IndexError) as error:
                odd.append(f"{table}: {line}: {error}")
                continue
            rules.setdefault((table, rule.chain), []).append(rule)
            odd += unread
        elif line.strip() and not line.startswith(("#", "COMMIT")):
            odd.append(line)
    made = (replace(chain, rules=tuple(rules.get(key, ()))) for key, chain in chains.items())
    return RuleSet(tuple(made), tuple(odd))


def _chain(table: str, line: str) -> Chain:
    name, policy, *_ = [*line[1:].split(), "-", "-"]
    if name not in _HOOKS or policy == "-":
        return Chain(table, name)
    kind = table.partition(" ")[2]
    priority = _PRIORITIES.get(kind, 0)
    if kind == "nat" and name in ("INPUT", "POSTROUTING"):
        priority = _SOURCE_NAT
    return Chain(table, name, (), name.lower(), priority, policy.lower(), "nat" if kind == "nat" else "filter")


def _rule(table: str, line: str) -> tuple[Rule, list[str]]:
    packets = size = 0
    if line.startswith("["):
        counters, _, line = line[1:].partition("] ")
        packets, size = (int(number) for number in counters.split(":"))
    words = shlex.split(line) if '"' in line or "'" in line else line.split()
    if words[0] != "-A":
        raise ValueError("expected -A")
    target = Target("none")
    found: list[Match] = []
    for option, value, negated in _options(words[2:]):
        if option in ("-j", "-g"):
            target = _target(value, option)
        elif option == "--set-xmark":
            mark, _, mask = value.partition("/")
            target = replace(target, mark=int(mark, 0), mask=int(mask or "0xffffffff", 0))
        elif option in _TARGET_OPTIONS:
            target = _translated(target, value)
        elif one := _match(option, value, negated):
            found.append(one)
    unread: list[str] = []
    if target.kind == "unknown":
        unread.append(f"{table}: target {target.chain} was taken to let the packet go on: {line}")
        target = Target("none")
    return Rule(table, words[1], line.rstrip(), tuple(found), target, packets, size), unread


def _options(words: list[str]) -> Iterator[tuple[str, str, bool]]:
    """Option, its value and whether it is negated."""
    turned, index = False, 0
    while index < len(words):
        word = words[index]
        index += 1
        if word == "!":
            turned = True
            continue
        values = []
        while index < len(words) and words[index] != "!" and not words[index].startswith("-"):
            values.append(words[index])
            index += 1
        yield word, " ".join(values), turned
        turned = False


def _target(name: str, option: str) -> Target:
    if name in _PLAIN:
        return Target(_PLAIN[name])
    if name in ("DNAT", "SNAT", "REDIRECT"):
        return Target(name.lower())
    if name in _PASSING:
        return Target("none")
    if name.isupper() and name in ("QUEUE", "NFQUEUE", "TPROXY", "NETMAP", "AUDIT", "CHECKSUM", "SYNPROXY"):
        return Target("unknown", chain=name)
    return Target("goto" if option == "-g" else "jump", chain=name)


def _translated(target: Target, value: str) -> Target:
    """``address[-address][:port[-port]]``, ``[address]:port`` or ``port[-port]``: the first of what may be chosen."""
    first = value.split(maxsplit=1)[0].partition("-")[0] if not value.startswith("[") else value
    if target.kind == "redirect":
        return replace(target, port=int(first))
    address, port = first, value.rpartition(":")[2].partition("-")[0]
    if value.startswith("["):
        address, _, rest = value[1:].partition("]")
        port = rest.removeprefix(":").partition("-")[0]
    elif first.count(":") == 1:
        address, _, port = first.partition(":")
    elif ":" not in value or first.count(":") > 1:
        port = "" if ":" not in value or value.count(":") > 1 else port
    address = address.partition("-")[0]
    return replace(target, address=str(ipaddress.ip_address(address)) if address else "", port=int(port or 0))


@lru_cache(_MOST_MATCHES)
def _match(option: str, value: str, negated: bool) -> Match | None:
    """The test of an option; None for one that says nothing by itself."""
    text = f"{'! ' if negated else ''}{option} {value}".rstrip()
    if option == "-m":
        return None if value in _MODULES else Match(text, matches.unknown)
    if option in _INERT:
        return None
    test = _TESTS.get(option)
    return matches.match(text, test(value), negated) if test else Match(text, matches.unknown)


_TESTS: dict[str, Callable[[str], Matches]] = {
    "-s": lambda value: matches.address("source", value.split(",")),
    "-d": lambda value: matches.address("destination", value.split(",")),
    "-i": lambda value: matches.interface("inward", [value]),
    "-o": lambda value: matches.interface("outward", [value]),
    "-p": lambda value: matches.protocol([value]),
    **dict.fromkeys(("--dport", "--dports"), lambda value: matches.port("port", _ranges(value))),
    **dict.fromkeys(("--sport", "--sports"), lambda value: matches.port("source_port", _ranges(value))),
    "--ports": lambda value: matches.either_port(_ranges(value)),
    **dict.fromkeys(("--ctstate", "--state"), lambda value: matches.state(value.split(","))),
    "--dst-type": lambda value: matches.address_type("destination", value.split(",")),
    "--src-type": lambda value: matches.address_type("source", value.split(",")),
    "--dst-range": lambda value: matches.address("destination", [value]),
    "--src-range": lambda value: matches.address("source", [value]),
    "--mark": matches.mark,
}


def _ranges(value: str) -> list[tuple[int, int]]:
    return [_ports(word) for word in value.split(",")]


def _ports(word: str) -> tuple[int, int]:
    first, colon, last = word.partition(":")
    return int(first or 0), int((last or 65535) if colon else first)
