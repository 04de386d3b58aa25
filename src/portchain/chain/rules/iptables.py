"""Reads what ``iptables-save -c`` and ``ip6tables-save -c`` print."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache

from . import marks, matches
from .model import Chain, Changes, Match, Matches, Rule, RuleSet, Target

_PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
_SOURCE_NAT = 100
_HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_PLAIN = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject", "RETURN": "return", "MASQUERADE": "masquerade"}
# Targets after which the packet goes on to the next rule, as it was.
_PASSING = {
    *("AUDIT", "CHECKSUM", "CLASSIFY", "CONNSECMARK", "DSCP", "ECN", "HL", "IDLETIMER", "LED", "LOG", "NFLOG"),
    *("RATEEST", "SECMARK", "SET", "TCPMSS", "TCPOPTSTRIP", "TEE", "TOS", "TRACE", "TTL", "ULOG"),
}
# Options whose value is what people write, even if it looks like an option.
_TEXTS = ("--comment", "--string", "--log-prefix", "--nflog-prefix")
# How it begins to say that there are rules which it does not show.
_WARNING = "# Warning: "
_MAX_LINES = 200_000
_MOST_MATCHES = 20_000
# Modules all of whose tests are known, but for options that are told by name.
_MODULES = {"tcp", "udp", "addrtype", "conntrack", "state", "multiport", "mark", "connmark", "iprange"}


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
                rule = _rule(table, line)
            except (ValueError, IndexError) as error:
                odd.append(f"{table}: {line}: {error}")
                continue
            rules.setdefault((table, rule.chain), []).append(rule)
        elif line.startswith(_WARNING) or (line.strip() and not line.startswith(("#", "COMMIT"))):
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


def words(line: str) -> list[str]:
    """The words of a rule's line, without the quotes about them; raise ValueError."""
    return shlex.split(line) if '"' in line or "'" in line else line.split()


def _rule(table: str, line: str) -> Rule:
    packets = size = 0
    if line.startswith("["):
        counters, _, line = line[1:].partition("] ")
        packets, size = (int(number) for number in counters.split(":"))
    chosen = words(line)
    if chosen[0] != "-A":
        raise ValueError("expected -A")
    rule = Rule(table, chosen[1], line.rstrip(), packets=packets, bytes=size)
    try:
        options = list(_options(chosen[2:]))
        end = next((index for index, one in enumerate(options) if one[0] in ("-j", "-g")), None)
        target = Target("none") if end is None else _target(options[end], options[end + 1 :])
        return replace(rule, matches=tuple(_matches(options[:end])), target=target)
    except (ValueError, IndexError):
        return replace(rule, matches=(Match("?", matches.unknown),), target=Target("unknown"))


def _options(told: list[str]) -> Iterator[tuple[str, str, bool]]:
    """Option, its value and whether it is negated."""
    turned, index = False, 0
    while index < len(told):
        word = told[index]
        index += 1
        if word == "!":
            turned = True
            continue
        values = told[index : index + 1] if word in _TEXTS else []
        index += len(values)
        while index < len(told) and told[index] != "!" and not told[index].startswith("-"):
            values.append(told[index])
            index += 1
        yield word, " ".join(values), turned
        turned = False


def _matches(options: list[tuple[str, str, bool]]) -> Iterator[Match]:
    module = ""
    for option, value, negated in options:
        if option == "-m":
            module = value
            if module not in _MODULES | {"comment"}:
                yield Match(f"-m {module}", matches.unknown)
        elif option != "--comment":
            yield _match(module, option, value, negated)


def _target(chosen: tuple[str, str, bool], own: list[tuple[str, str, bool]]) -> Target:
    """``own`` are the target's options."""
    option, name, _ = chosen
    told = {key: value for key, value, _ in own}
    if name in ("DNAT", "SNAT", "REDIRECT"):
        return _translated(name.lower(), told)
    if name in ("MARK", "CONNMARK", "NOTRACK", "CT"):
        return Target("none", changes=_changes(name, told))
    known = target(name)
    return known if known.kind != "unknown" else Target("goto" if option == "-g" else "jump", chain=name)


def target(name: str) -> Target:
    """One that needs no options."""
    return Target("none" if name in _PASSING else _PLAIN.get(name, "unknown"))


def _changes(name: str, told: dict[str, str]) -> Changes | None:
    """What a target does to the marks, or to the state."""
    if name == "NOTRACK" or "--notrack" in told:
        return marks.untracked
    if name == "CT":
        return None
    which = "mark" if name == "MARK" else "connection_mark"
    if "--set-xmark" in told:
        return marks.turned(which, *matches.masked(told["--set-xmark"]))
    from_mask, to_mask = told.get("--nfmask", "0xffffffff"), told.get("--ctmask", "0xffffffff")
    nf, ct = int(from_mask, 0), int(to_mask, 0)
    if "--save-mark" in told:
        return marks.copied("mark", nf, "connection_mark", ct)
    if "--restore-mark" in told:
        return marks.copied("connection_mark", ct, "mark", nf)
    return marks.lost(which)


def _translated(kind: str, told: dict[str, str]) -> Target:
    """``address[:port[-port[/base]]]``, ``[address]:port`` or ``port[-port]``.

    Where the kernel chooses, by chance or among addresses, the destination cannot be known.
    """
    value = told.get("--to-destination") or told.get("--to-source") or told.get("--to-ports") or ""
    address, port = ("", value) if kind == "redirect" else _place(value)
    first, _, last = address.partition("-")
    span, _, base = port.partition("/")
    low, _, high = span.partition("-")
    ports = (int(low), int(high or low)) if low else None
    chosen = bool(last and last != first) or ("--random" in told and ports is not None and ports[0] != ports[1])
    if kind != "snat" and chosen:
        return Target("unknown")
    return Target(kind, "", str(ipaddress.ip_address(first)) if first else "", ports, int(base or 0))


def _place(value: str) -> tuple[str, str]:
    """Address and port."""
    if value.startswith("["):
        address, _, rest = value[1:].partition("]")
        if rest.startswith("-["):
            raise ValueError("several addresses")
        return address, rest.removeprefix(":")
    if value.count(":") > 1:
        return value, ""
    address, _, port = value.partition(":")
    return address, port


@lru_cache(_MOST_MATCHES)
def _match(module: str, option: str, value: str, negated: bool) -> Match:
    """The test of an option."""
    text = f"{'! ' if negated else ''}{option} {value}".rstrip()
    known = module in _MODULES or not option.startswith("--")
    test = _TESTS.get(f"{module} {option}" if module == "connmark" else option) if known else None
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
    "--ctorigdst": lambda value: matches.original(matches.address("destination", [value])),
    "--ctorigdstport": lambda value: matches.original(matches.port("port", _ranges(value))),
    "--tcp-flags": matches.tcp_flags,
    "--mark": matches.mark,
    "connmark --mark": matches.connection_mark,
}


def _ranges(value: str) -> list[tuple[int, int]]:
    return [_ports(word) for word in value.split(",")]


def _ports(word: str) -> tuple[int, int]:
    first, colon, last = word.partition(":")
    return int(first or 0), int((last or 65535) if colon else first)
