"""Parse what ``iptables-save -c`` and ``ip6tables-save -c`` print."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache

from ..rules import marks, matches
from ..rules.filter_rules import Changes, Match, Matches, Rule, RuleChain, RuleSet, Target

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
    """Parse all tables of one address family; lines that are not understood go to ``unknown``."""
    chains: dict[tuple[str, str], RuleChain] = {}
    rules: dict[tuple[str, str], list[Rule]] = {}
    unknown: list[str] = []
    table = ""
    for line in text.splitlines()[:_MAX_LINES]:
        if line.startswith("*"):
            table = f"{family} {line[1:].strip()}"
        elif line.startswith(":") and table:
            chain = _parse_chain(table, line)
            chains[table, chain.name] = chain
        elif line.startswith(("[", "-A")) and table:
            try:
                rule = _parse_rule(table, line)
            except (ValueError, IndexError) as error:
                unknown.append(f"{table}: {line}: {error}")
                continue
            rules.setdefault((table, rule.chain), []).append(rule)
        elif line.startswith(_WARNING) or (line.strip() and not line.startswith(("#", "COMMIT"))):
            unknown.append(line)
    whole_chains = (replace(chain, rules=tuple(rules.get(key, ()))) for key, chain in chains.items())
    return RuleSet(tuple(whole_chains), tuple(unknown))


def _parse_chain(table: str, line: str) -> RuleChain:
    name, policy, *_ = [*line[1:].split(), "-", "-"]
    if name not in _HOOKS or policy == "-":
        return RuleChain(table, name)
    kind = table.partition(" ")[2]
    priority = _PRIORITIES.get(kind, 0)
    if kind == "nat" and name in ("INPUT", "POSTROUTING"):
        priority = _SOURCE_NAT
    return RuleChain(table, name, (), name.lower(), priority, policy.lower(), "nat" if kind == "nat" else "filter")


def words(line: str) -> list[str]:
    """Split a rule's line into words, without the quotes around them; raise ValueError."""
    return shlex.split(line) if '"' in line or "'" in line else line.split()


def _parse_rule(table: str, line: str) -> Rule:
    packets = byte_count = 0
    if line.startswith("["):
        counters, _, line = line[1:].partition("] ")
        packets, byte_count = (int(number) for number in counters.split(":"))
    arguments = words(line)
    if arguments[0] != "-A":
        raise ValueError("expected -A")
    rule = Rule(table, arguments[1], line.rstrip(), packets=packets, bytes=byte_count)
    try:
        options = list(_options(arguments[2:]))
        end = next((index for index, option in enumerate(options) if option[0] in ("-j", "-g")), None)
        target = Target("none") if end is None else _target(options[end], options[end + 1 :])
        return replace(rule, matches=tuple(_matches(options[:end])), target=target)
    except (ValueError, IndexError):
        return replace(rule, matches=(Match("?", matches.unknown),), target=Target("unknown"))


def _options(arguments: list[str]) -> Iterator[tuple[str, str, bool]]:
    """Return each option with its value and whether it is negated."""
    negated, index = False, 0
    while index < len(arguments):
        word = arguments[index]
        index += 1
        if word == "!":
            negated = True
            continue
        values = arguments[index : index + 1] if word in _TEXTS else []
        index += len(values)
        while index < len(arguments) and arguments[index] != "!" and not arguments[index].startswith("-"):
            values.append(arguments[index])
            index += 1
        yield word, " ".join(values), negated
        negated = False


def _matches(options: list[tuple[str, str, bool]]) -> Iterator[Match]:
    module = ""
    for option, value, negated in options:
        if option == "-m":
            module = value
            if module not in _MODULES | {"comment"}:
                yield Match(f"-m {module}", matches.unknown)
        elif option != "--comment":
            yield _match(module, option, value, negated)


def _target(jump: tuple[str, str, bool], options: list[tuple[str, str, bool]]) -> Target:
    """Parse a target; ``own`` are its options."""
    option, name, _ = jump
    values = {key: value for key, value, _ in options}
    if name in ("DNAT", "SNAT", "REDIRECT"):
        return _translated(name.lower(), values)
    if name in ("MARK", "CONNMARK", "NOTRACK", "CT"):
        return Target("none", changes=_changes(name, values))
    known = target(name)
    return known if known.kind != "unknown" else Target("goto" if option == "-g" else "jump", chain=name)


def target(name: str) -> Target:
    """Return a target that needs no options."""
    return Target("none" if name in _PASSING else _PLAIN.get(name, "unknown"))


def _changes(name: str, options: dict[str, str]) -> Changes | None:
    """Return what a target does to the marks, or to the connection state."""
    if name == "NOTRACK" or "--notrack" in options:
        return marks.untracked
    if name == "CT":
        return None
    which = "mark" if name == "MARK" else "connection_mark"
    if "--set-xmark" in options:
        return marks.turned(which, *matches.masked(options["--set-xmark"]))
    from_mask, to_mask = options.get("--nfmask", "0xffffffff"), options.get("--ctmask", "0xffffffff")
    packet_mask, connection_mask = int(from_mask, 0), int(to_mask, 0)
    if "--save-mark" in options:
        return marks.copied("mark", packet_mask, "connection_mark", connection_mask)
    if "--restore-mark" in options:
        return marks.copied("connection_mark", connection_mask, "mark", packet_mask)
    return marks.lost(which)


def _translated(kind: str, options: dict[str, str]) -> Target:
    """Parse ``address[:port[-port[/base]]]``, ``[address]:port`` or ``port[-port]``.

    Where the kernel chooses, by chance or among addresses, the destination cannot be known.
    """
    value = options.get("--to-destination") or options.get("--to-source") or options.get("--to-ports") or ""
    address, port = ("", value) if kind == "redirect" else _split_address(value)
    first, _, last = address.partition("-")
    span, _, base = port.partition("/")
    low, _, high = span.partition("-")
    ports = (int(low), int(high or low)) if low else None
    kernel_chooses = bool(last and last != first) or (
        "--random" in options and ports is not None and ports[0] != ports[1]
    )
    if kind != "snat" and kernel_chooses:
        return Target("unknown")
    return Target(kind, "", str(ipaddress.ip_address(first)) if first else "", ports, int(base or 0))


def _split_address(value: str) -> tuple[str, str]:
    """Split ``address:port``, either of which may be missing."""
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
    """Return the condition of an option."""
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
