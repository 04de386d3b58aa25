"""Rules by chance, the same for the same seed, for a guest between neighbours as filter_stage.py makes it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from .filter_stage import PORTS, Case, Probe

_OWN = {4: ("127.0.0.1", "10.1.0.1", "10.2.0.1"), 6: ("::1", "fd01::1", "fd02::1")}
_NEIGHBOURS = {4: ("10.1.0.2", "10.2.0.2"), 6: ("fd01::2", "fd02::2")}
_NETWORKS = {
    4: ("127.0.0.0/8", "10.1.0.0/24", "10.0.0.0/8", "10.1.0.1/32", "10.2.0.2/32"),
    6: ("fd01::/64", "fd00::/8", "fd01::1/128", "fd02::2/128", "::1/128"),
}
_DEVICES = ("one0", "two0", "lo", "t+", "o+")
# All of this is true of some packets: what only the kernel knows.
_ONLY_THE_KERNEL_KNOWS = (
    "limit --limit 1/min",
    "length --length 29",
    "physdev --physdev-in one0",
    "pkttype --pkt-type host",
)
_ONLY_THE_KERNEL_KNOWS_OF_NFT = (
    "ct status snat",
    "tcp flags != syn",
    "limit rate 1/minute",
    "ct count over 2",
    "meta pkttype host",
    "meta length 29",
)
_BUILT_IN = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
_INWARD, _OUTWARD = {"PREROUTING", "INPUT", "FORWARD"}, {"OUTPUT", "FORWARD", "POSTROUTING"}


class Chance(random.Random):
    """Chance itself; ``seldom`` is how often a rule may have what only the kernel knows."""

    seldom = 0.0


def case(seed: int, version: int) -> Case:
    """Odd seeds have native nft rules beside those of iptables, each fourth has only those.

    Each third one rejects, each fifth has conditions that only the kernel knows.
    """
    chance = Chance(f"{seed}.{version}")
    chance.seldom = 0.1 if seed % 5 == 4 else 0.0
    ends = ["ACCEPT", "DROP", "RETURN", *(["REJECT"] if seed % 3 == 0 else [])]
    rules = {}
    if seed % 4 != 3:
        rules["iptables" if version == 4 else "ip6tables"] = _iptables(chance, version, ends)
    if seed % 2:
        rules["nft"] = _nft(chance, version, [end.lower() for end in ends])
    return Case(rules=rules, probes=[list(one) for one in _probes(version)])


def _probes(version: int) -> list[Probe]:
    """From the guest, whose own addresses speak for themselves, and from a neighbour."""
    own, (one, two) = _OWN[version], _NEIGHBOURS[version]
    inside = [*zip(own, own, strict=True), (own[1], one), (own[2], two), (own[1], own[2])]
    ways = [("guest", *way) for way in inside] + [("one", one, to) for to in (own[1], own[2], two)]
    return [
        Probe(at, protocol, source, destination, port)
        for (at, source, destination), protocol, port in itertools.product(ways, ("udp", "tcp"), PORTS)
    ]


def _iptables(chance: Chance, version: int, ends: Sequence[str]) -> str:
    lines = []
    for table, built_in in _BUILT_IN.items():
        if table in ("raw", "mangle") and chance.random() < 0.5:
            continue
        # A chain leads only to later ones. What translates is told apart, for the kernel allows it at some hooks only.
        own = ["D1", "D2", "S1", "S2"] if table == "nat" else ["U1", "U2", "U3"]
        lines.append(f"*{table}")
        for name in built_in:
            policy = chance.choice(("ACCEPT", "ACCEPT", "ACCEPT", "DROP")) if table == "filter" else "ACCEPT"
            lines.append(f":{name} {policy}")
        lines += [f":{name} -" for name in own]
        for name in (*built_in, *own):
            kind = "S" if name in ("POSTROUTING", "S1", "S2") else "D" if name in ("PREROUTING", "OUTPUT") else name[0]
            later = [
                one for one in own[own.index(name) + 1 if name in own else 0 :] if table != "nat" or one[0] == kind
            ]
            for _ in range(chance.randint(1, 5)):
                words = _matches(chance, version, name, raw=table == "raw")
                target = _target(chance, version, f"{table} {kind}", later, ends)
                if any(option in words and target.startswith(option) for option in ("-p", "-o")):
                    words = ""
                lines.append(f"-A {name} {words} {target}")
        lines.append("COMMIT")
    return "\n".join((*lines, ""))


def _matches(chance: Chance, version: int, chain: str, *, raw: bool) -> str:
    network = _NETWORKS[version]
    protocol = chance.choice(("tcp", "udp", "udp"))
    low = chance.choice(PORTS)
    pool = [
        f"{{no}}-s {chance.choice(network)}",
        f"{{no}}-d {chance.choice(network)}",
        f"-p {protocol}",
        f"-p {protocol} -m {protocol} {{no}}--dport {low}",
        f"-p {protocol} -m {protocol} {{no}}--dport {low}:{low + 1}",
        f"-p {protocol} -m {protocol} {{no}}--sport 1024:65535",
        f"-p {protocol} -m multiport {{no}}--dports {low},{PORTS[-1]}",
        f"-p {protocol} -m multiport {{no}}--{chance.choice(('ports', 'sports'))} {low}:{low + 1},1024:65535",
        f"-p tcp -m tcp {{no}}--tcp-flags {chance.choice(('FIN,SYN,RST,ACK SYN', 'SYN,ACK SYN,ACK', 'ALL NONE'))}",
        f"-m mark {{no}}--mark {chance.choice(('0x0', '0x1', '0x1/0x3'))}",
        *([f"-m {chance.choice(_ONLY_THE_KERNEL_KNOWS)}"] if chance.random() < chance.seldom else []),
        f"-m iprange {{no}}--dst-range {'10.1.0.1-10.1.0.7' if version == 4 else 'fd01::1-fd01::7'}",
        '-m comment --comment "in \\"quotes\\" -j DROP"',
    ]
    if version == 4:
        kind = chance.choice(("LOCAL", "UNICAST", "BROADCAST", "LOCAL,UNICAST"))
        pool.append(f"-m addrtype {{no}}--{chance.choice(('dst', 'src'))}-type {kind}")
    if not raw:
        states = ("NEW", "NEW,ESTABLISHED", "DNAT", "ESTABLISHED,RELATED", "INVALID", "UNTRACKED", "ESTABLISHED,DNAT")
        pool.append(f"-m conntrack {{no}}--ctstate {chance.choice(states)}")
        pool.append(f"-m conntrack {{no}}--ctorigdst {chance.choice(network)} --ctorigdstport {low}")
        pool.append(f"-m connmark {{no}}--mark {chance.choice(('0x0', '0x1', '0x1/0x3'))}")
    if chain in _INWARD:
        pool.append(f"{{no}}-i {chance.choice(_DEVICES)}")
    if chain in _OUTWARD:
        pool.append(f"{{no}}-o {chance.choice(_DEVICES)}")
    chosen = chance.sample(pool, chance.choice((0, 1, 1, 2, 2, 3)))
    if sum(one.startswith("-p") for one in chosen) > 1 or sum("-m conntrack" in one for one in chosen) > 1:
        chosen = chosen[:1]
    return " ".join(one.format(no=chance.choice(("", "", "! "))) for one in chosen)


def _target(chance: Chance, version: int, place: str, later: Sequence[str], ends: Sequence[str]) -> str:
    """``place`` is a table and, as a letter, the kind of chain: of nat, D and S translate destinations and sources."""
    table, _, kind = place.partition(" ")
    usual = ["ACCEPT", "RETURN"] if table == "nat" else [end for end in ends if table == "filter" or end != "REJECT"]
    choices = [f"-j {chance.choice(usual)}", "", *(f"-{chance.choice('jg')} {one}" for one in later)]
    if table == "nat" and kind == "D":
        choices += 3 * [f"-p {chance.choice(('udp', 'tcp'))} {_destination(chance, version)}"]
    if table == "nat" and kind == "S":
        choices += [f"-o {chance.choice(('one0', 'two0'))} -j MASQUERADE"] * 2
        choices += [f"-j SNAT --to-source {_OWN[version][1]}"]
    if table == "mangle":
        bits = chance.choice(("0x1/0xffffffff", "0x2/0x2", "0x0/0x1"))
        choices += [f"-j MARK --set-xmark {bits}"] * 2
        choices += [f"-j CONNMARK {chance.choice((f'--set-xmark {bits}', '--save-mark', '--restore-mark'))}"] * 2
    if table == "raw":
        choices.append("-j CT --notrack")
    return chance.choice(choices)


def _destination(chance: Chance, version: int) -> str:
    address = chance.choice((*_OWN[version][1:], *_NEIGHBOURS[version]))
    port = chance.choice(PORTS)
    shown = f"[{address}]" if version == 6 else address
    return chance.choice(
        (
            f"-j DNAT --to-destination {shown}:{port}",
            f"-j DNAT --to-destination {address}",
            f"-j DNAT --to-destination :{port}",
            f"-j REDIRECT --to-ports {port}",
            f"-j REDIRECT --to-ports {PORTS[1]}-{PORTS[2]}",
            f"-j DNAT --to-destination {shown}:{PORTS[2]}-{PORTS[3]}",
            f"-j DNAT --to-destination {shown}:{PORTS[0]}-{PORTS[1]}/{PORTS[2]}",
            *(
                [f"-j DNAT --to-destination {shown}:{PORTS[0]}-{PORTS[3]} --random"]
                if chance.random() < chance.seldom
                else []
            ),
        )
    )


def _nft(chance: Chance, version: int, ends: Sequence[str]) -> str:
    """A filter table for both families, and a table of nat with maps."""
    closed = chance.choice([end for end in ends if end != "reject"])
    lines = [
        "table inet own {",
        f"set ports {{ type inet_service; flags interval; elements = {{ {PORTS[0]}, {PORTS[2]}-{PORTS[3]} }} }}",
        "map doors { type inet_service : verdict;",
        f"elements = {{ {PORTS[0]} : jump u1, {PORTS[1]} : {closed} }} }}",
    ]
    for name in ("u2", "u1"):
        later = ["u2"] if name == "u1" else []
        lines += [f"chain {name} {{", *_nft_rules(chance, version, ends, later), "}"]
    for hook in ("prerouting", "input", "forward", "output", "postrouting"):
        if chance.random() < 0.3:
            continue
        known = [end for end in ends if end != "reject" or hook in ("input", "forward", "output")]
        policy = chance.choice(("accept", "accept", "drop")) if hook == "forward" else "accept"
        priority = chance.choice((-250, -120, -50, 10, 200))
        if chance.random() < 0.3:
            lines.append(
                f"chain also_at_{hook} {{ type filter hook {hook} priority {chance.choice((-310, -10, 5, 20))};"
            )
            lines += [*_nft_rules(chance, version, [end for end in ends if end != "reject"], []), "}"]
        leading = ["u1", "u2"] if "reject" not in ends or known == list(ends) else []
        lines.append(f"chain at_{hook} {{ type filter hook {hook} priority {priority}; policy {policy};")
        lines += [*_nft_rules(chance, version, known, leading), "}"]
    return "\n".join((*lines, "}", *_nft_nat(chance, version), ""))


_NFT_MARKS = ("meta mark set 1", "ct mark set mark", "meta mark set ct mark or 0x2", "meta mark set 2 accept")


def _nft_rules(chance: Chance, version: int, ends: Sequence[str], later: Sequence[str]) -> list[str]:
    made = []
    for _ in range(chance.randint(1, 4)):
        verdict = chance.choice(
            [*ends, "", *_NFT_MARKS, *(f"{chance.choice(('jump', 'goto'))} {one}" for one in later)]
        )
        made.append(f"{_nft_matches(chance, version)} counter {verdict}")
    if "u1" in later and chance.random() < 0.5:
        made.append("tcp dport vmap @doors")
        made.append(f"counter udp dport vmap {{ {PORTS[0]}-{PORTS[1]} : jump u1, {PORTS[3]} : drop }}")
    return made


def _nft_matches(chance: Chance, version: int) -> str:
    family = "ip" if version == 4 else "ip6"
    networks, addresses = _NETWORKS[version], (*_OWN[version], *_NEIGHBOURS[version])
    several = ", ".join(chance.sample(addresses, 2))
    low = chance.choice(PORTS)
    no = chance.choice(("", "", "!= "))
    pool = [
        f"{family} {chance.choice(('saddr', 'daddr'))} {no}{chance.choice(networks)}",
        f"{family} {chance.choice(('saddr', 'daddr'))} {no}{{ {several} }}",
        f"{chance.choice(('udp', 'tcp'))} dport {no}{low}",
        f"udp dport {no}{low}-{low + 1}",
        f"udp dport {no}@ports",
        f"meta l4proto {{ tcp, udp }} th dport {no}{{ {low}, {PORTS[-1]} }}",
        f"{family} daddr . udp dport {{ {addresses[0]} . {low}, {addresses[3]} . {PORTS[1]} }}",
        f"udp dport {chance.choice('<>')} {low}",
        f"ct state {chance.choice(('new', 'established,related', 'invalid'))}",
        "ct status dnat",
        f"ct mark {no}1",
        f"mark and 0x3 {no}{chance.choice((0, 1, 2))}",
        "ct state vmap { invalid : drop, established : accept }",
        f'iifname vmap {{ lo : continue, "one*" : {chance.choice(("accept", "continue"))}, "tw*" : drop }}',
        "icmp type echo-request",
        *([chance.choice(_ONLY_THE_KERNEL_KNOWS_OF_NFT)] if chance.random() < chance.seldom else []),
        f"{family} daddr . th dport {{ {networks[1]} . {low}-{low + 1}, {networks[-1]} . {PORTS[1]} }}",
        f"meta l4proto {no}{chance.choice(('tcp', 'udp'))}",
        f"meta nfproto {chance.choice(('ipv4', 'ipv6'))}",
        f"iifname {no}{chance.choice(('lo', 'one0', 'one*'))}",
        f"oifname {no}{{ lo, two0 }}",
        f"mark {no}1",
    ]
    if version == 4:
        pool.append(f"fib {chance.choice(('saddr', 'daddr'))} type {no}{chance.choice(('local', 'unicast'))}")
    chosen = chance.sample(pool, chance.choice((0, 1, 1, 2)))
    # nft refuses what cannot match, such as two protocols at once.
    layers = ("port", "l4proto", "flags", "icmp"), ("icmp", "saddr", "daddr", "nfproto")
    clash = any(sum(any(word in one for word in layer) for one in chosen) > 1 for layer in layers)
    return " ".join(chosen[:1] if clash else chosen)


def _nft_nat(chance: Chance, version: int) -> list[str]:
    family, own, neighbours = "ip" if version == 4 else "ip6", _OWN[version], _NEIGHBOURS[version]
    to = "ipv6_addr" if version == 6 else "ipv4_addr"
    shown, here = (f"[{one}]" if version == 6 else one for one in (neighbours[0], own[1]))
    pool = [
        f"udp dport {PORTS[0]} counter dnat to {shown}:{PORTS[1]}",
        f"tcp dport {chance.choice(PORTS)} counter dnat to {neighbours[1]}",
        f"udp dport {chance.choice(PORTS)} counter redirect to :{PORTS[2]}",
        "meta l4proto { tcp, udp } counter dnat to th dport map @places",
        f"{family} daddr . tcp dport vmap {{ {own[1]} . {PORTS[0]} : goto inner, {own[2]} . {PORTS[1]} : accept }}",
        f"udp dport {PORTS[3]} counter return",
        f"meta l4proto udp counter redirect to :udp dport map {{ {PORTS[0]} : {PORTS[3]}, {PORTS[1]} : {PORTS[1]} }}",
        f"tcp dport {PORTS[2]} counter dnat to {here}:{PORTS[0]}-{PORTS[1]}",
    ]
    if chance.random() < chance.seldom:
        pool.append(f"{family} daddr {own[1]} dnat to numgen random mod 2 map {{ 0 : {own[2]}, 1 : {neighbours[0]} }}")
    lines = [
        f"table {family} {chance.choice(('own_nat', 'nat'))} {{",
        f"map places {{ type inet_service : {to} . inet_service; "
        f"elements = {{ {PORTS[1]} : {neighbours[1]} . {PORTS[0]}, {PORTS[2]} : {own[2]} . {PORTS[3]} }} }}",
        f"chain inner {{ tcp dport {PORTS[0]} counter dnat to {own[2]}",
        "}",
    ]
    for hook, priority in (("prerouting", -90), ("output", chance.choice((-101, -99)))):
        lines += [f"chain at_{hook} {{ type nat hook {hook} priority {priority};", *chance.sample(pool, 3), "}"]
    lines.append("chain at_postrouting { type nat hook postrouting priority 99;")
    lines += [f"oifname one0 {family} saddr != {own[1]} counter masquerade", "}", "}"]
    return lines
