"""Native tables of nft, read from a real listing."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given

from portchain.trace.model import NetworkNamespace, Route
from portchain.trace.parse import nft, nft_values
from portchain.trace.rules import packet_path
from portchain.trace.rules.filter_rules import Packet, RuleSet
from portchain.trace.rules.hook_passage import Hook, Passage
from support.effort import count_calls
from support.mutations import mutated_text

LISTING = (Path(__file__).parent / "ruleset.json").read_text()
RULES = nft.parse(LISTING, ("ip nat", "ip filter", "ip raw"))
OWN = NetworkNamespace(routes=(Route("127.0.0.0/8", "lo", "local"),))


def passage(port: int, **words: object) -> Passage:
    """A packet's way through hook output."""
    fields = {"source": "172.17.0.1", "destination": "172.17.0.2", "outward": "docker0", "protocol": "tcp", **words}
    return Hook(RULES, Packet(port=port, **fields), "output", OWN).through()


def test_tables_of_iptables_are_left_to_iptables_save() -> None:
    assert {chain.table for chain in RULES.chains} == {"inet own", "ip nat2"}
    assert not RULES.unknown


@pytest.mark.parametrize(
    ("port", "words", "end"),
    [
        (443, {}, "drop"),
        (7005, {}, "drop"),
        (7011, {}, "accept"),
        (443, {"outward": "eth0"}, "accept"),
        (443, {"destination": "172.18.0.2"}, "accept"),
        (443, {"state": "ESTABLISHED"}, "accept"),
        (9, {}, "reject"),
        (9, {"protocol": "udp"}, "reject"),
        (22, {}, "accept"),
        (23, {}, "drop"),
        (1, {}, "drop"),
        (3, {}, "accept"),
        (443, {"source": "::1", "destination": "fd00::2"}, "accept"),
    ],
)
def test_filters(port: int, words: dict[str, str], end: str) -> None:
    found = passage(port, **words)
    assert found.end == end
    assert (found.by is not None) == (end != "accept")


@pytest.mark.parametrize(
    ("port", "destination", "leads_to"),
    [
        (8080, "127.0.0.1", ("172.17.0.2", 80)),
        (81, "127.0.0.1", ("172.17.0.3", 80)),
        (82, "127.0.0.1", ("127.0.0.1", 83)),
        (85, "127.0.0.1", ("172.17.0.4", 85)),
        (85, "127.0.0.2", ("127.0.0.2", 85)),
        (80, "1.1.1.1", ("1.1.1.1", 80)),
    ],
)
def test_translates(port: int, destination: str, leads_to: tuple[str, int]) -> None:
    found = passage(port, destination=destination, outward="lo")
    assert (found.packet.destination, found.packet.port) == leads_to


def test_a_jump_from_a_map_of_two_keys() -> None:
    without = json.loads(LISTING)
    rows = [one for one in without["nftables"] if one.get("rule", {}).get("handle") != 9]
    rules = nft.parse(json.dumps({"nftables": rows}))
    found = Hook(rules, Packet("tcp", "10.0.0.1", "1.1.1.1", 80), "output", NetworkNamespace()).through()
    assert found.packet.destination == "172.17.0.9"
    assert found.translation
    assert (found.translation.packets, found.translation.bytes) == (3, 5)


def test_a_rule_is_told_with_its_handle() -> None:
    found = passage(443)
    assert found.by
    assert found.by.text.startswith("oifname docker* tcp dport @s ip daddr 172.17.0.0/16 ct state")
    assert found.by.text.endswith("drop # handle 11")


def test_what_only_the_kernel_knows_is_said_to_be_unsure() -> None:
    found = passage(3)
    assert [rule.text for rule in found.unsure] == ["limit accept # handle 6"]


@pytest.mark.parametrize("text", ["{", "[]", '{"nftables": 3}', '{"nftables": [{"rule": {"family": "ip"}}]}'])
def test_nonsense_is_no_error(text: str) -> None:
    assert nft.parse(text).chains == ()


def test_nothing_is_nothing() -> None:
    assert nft.parse("").unknown == ()


@pytest.mark.parametrize("right", ["x", {"range": ["a", "b"]}, {"prefix": {}}, {"range": [1]}, ["@x", {"prefix": 1}]])
def test_what_cannot_be_compared_is_not_known(right: object) -> None:
    key = nft_values.key_of({"payload": {"protocol": "tcp", "field": "dport"}})
    assert key
    for op in ("<", "=="):
        found = nft_values.compare(key, op, right, {})
        assert found(Packet("tcp", "10.0.0.1", "1.1.1.1", 80), lambda _: False) in (None, False)


def told(*rules: object, maps: tuple[dict[str, object], ...] = (), name: str = "inet own", kind: str = "filter") -> str:
    """A listing of one base chain at hook output, each rule given by its expressions."""
    family, _, own = name.partition(" ")
    at = {"family": family, "table": own}
    base = {"chain": {**at, "name": "out", "type": kind, "hook": "output", "prio": 0, "policy": "accept"}}
    rows = [{"rule": {**at, "chain": "out", "handle": n, "expr": expr}} for n, expr in enumerate(rules)]
    first = [{"table": {"family": family, "name": own}}, *({"map": {**at, **one}} for one in maps)]
    return json.dumps({"nftables": [*first, base, *rows]})


def table(*rules: object, maps: tuple[dict[str, object], ...] = (), kind: str = "filter") -> RuleSet:
    """The same, read."""
    return nft.parse(told(*rules, maps=maps, kind=kind))


def walked(rules: RuleSet, **words: object) -> Passage:
    """A packet to 10.0.0.2:80, sent."""
    fields = {"protocol": "tcp", "source": "127.0.0.1", "destination": "10.0.0.2", "port": 80, **words}
    return packet_path.send(rules, Packet(**fields), OWN)


def equal(left: object, right: object, op: str = "==") -> dict[str, object]:
    return {"match": {"op": op, "left": left, "right": right}}


DROP, ACCEPT = {"drop": None}, {"accept": None}
DPORT = {"payload": {"protocol": "tcp", "field": "dport"}}
MARK = {"meta": {"key": "mark"}}


@pytest.mark.parametrize(
    "condition",
    [
        {"ct count": {"val": 20, "inv": True}},
        {"quota": {"val": 100, "val_unit": "mbytes", "inv": True}},
        {"set": {"op": "add", "elem": DPORT, "set": "@m", "stmt": [{"limit": {"rate": 10, "per": "minute"}}]}},
        {"xt": {"type": "match", "name": "string"}},
        {"what nobody": "knows"},
        equal({"ct": {"key": "mark"}}, {"meta": {"key": "skuid"}}),
        equal({"ct": {"key": "status"}}, "snat", "in"),
        equal({"fib": {"result": "oif", "flags": ["daddr"]}}, "lo"),
        equal({"payload": {"protocol": "tcp", "field": "flags"}}, "fin", "in"),
        equal(DPORT, {"numgen": {"mode": "random", "mod": 2}}),
    ],
    ids=str,
)
def test_conditions_that_are_not_known_accuse_nobody(condition: object) -> None:
    found = walked(table([condition, DROP]))
    assert (found.end, len(found.unsure)) == ("accept", 1)


@pytest.mark.parametrize(
    "statement", [{"queue": {"num": 3}}, {"tproxy": {"port": 1}}, {"dnat": {"addr": {"prefix": 3}}}]
)
def test_what_becomes_of_it_is_not_known(statement: object) -> None:
    found = walked(table([statement], [DROP]))
    assert (found.end, len(found.unsure)) == ("accept", 1)


@pytest.mark.parametrize(
    ("condition", "end"),
    [
        (equal({"payload": {"protocol": "icmp", "field": "type"}}, "echo-request"), "accept"),
        (equal({"ct": {"key": "mark"}}, 0), "drop"),
        (equal({"ct": {"key": "state"}}, "invalid", "!"), "drop"),
        (equal({"ct": {"key": "state"}}, "new", "!"), "accept"),
        (equal({"&": [MARK, 1]}, 0), "drop"),
        (equal({"ct": {"key": "status"}}, "dnat", "in"), "accept"),
        ({"set": {"op": "add", "elem": DPORT, "set": "@m"}}, "drop"),
    ],
    ids=str,
)
def test_conditions_that_are_known(condition: object, end: str) -> None:
    found = walked(table([condition, DROP]))
    assert (found.end, found.unsure) == (end, ())


@pytest.mark.parametrize(
    ("value", "end"),
    [(1, "drop"), (2, "accept"), ({"|": [MARK, 1]}, "drop"), ({"^": [1, {"ct": {"key": "mark"}}]}, "drop")],
    ids=str,
)
def test_marks(value: object, end: str) -> None:
    assert walked(table([{"mangle": {"key": MARK, "value": value}}], [equal(MARK, 1), DROP])).end == end


def test_a_mark_that_only_the_kernel_knows() -> None:
    found = walked(table([{"mangle": {"key": MARK, "value": {"numgen": {"mod": 2}}}}], [equal(MARK, 1), DROP]))
    assert (found.end, len(found.unsure)) == ("accept", 1)


def test_how_marks_are_shown() -> None:
    rules = table([equal({"&": [MARK, 3]}, 1), {"mangle": {"key": MARK, "value": {"|": [MARK, 2]}}}, DROP])
    assert rules.chains[0].rules[0].text == "mark & 3 1 mark set mark | 2 drop # handle 0"


def test_a_rule_sets_a_mark_and_its_verdict_holds() -> None:
    assert walked(table([equal(MARK, 0), {"mangle": {"key": MARK, "value": 1}}, DROP])).end == "drop"


@pytest.mark.parametrize(("element", "end"), [("continue", "drop"), ("accept", "accept")])
def test_a_rule_goes_on_after_a_map_only_where_that_says_so(element: str, end: str) -> None:
    vmap = {"vmap": {"key": DPORT, "data": {"set": [[80, {element: None}]]}}}
    assert walked(table([vmap, DROP])).end == end
    assert walked(table([vmap, DROP]), port=81).end == "accept"


def test_what_a_rule_does_after_a_map() -> None:
    vmap = {"vmap": {"key": DPORT, "data": {"set": [[80, {"continue": None}]]}}}
    rules = table([vmap, {"mangle": {"key": MARK, "value": 1}}], [equal(MARK, 1), DROP])
    assert (walked(rules).end, walked(rules, port=81).end) == ("drop", "accept")


def test_what_is_for_all_the_rest_comes_last() -> None:
    doors = {"name": "doors", "type": "inet_service", "map": "verdict", "elem": [["*", DROP], [80, ACCEPT]]}
    rules = table([{"vmap": {"key": DPORT, "data": "@doors"}}], maps=(doors,))
    assert (walked(rules).end, walked(rules, port=81).end) == ("accept", "drop")


@pytest.mark.parametrize(
    ("told", "leads_to"),
    [
        ({"dnat": {"addr": "10.0.0.3", "port": {"range": [90, 99]}}}, ("10.0.0.3", 90)),
        ({"dnat": {"addr": "10.0.0.3", "port": {"range": [70, 99]}}}, ("10.0.0.3", 80)),
        (
            {"dnat": {"addr": "10.0.0.3", "port": {"map": {"key": DPORT, "data": {"set": [[80, 81]]}}}}},
            ("10.0.0.3", 81),
        ),
        ({"redirect": {"port": {"map": {"key": DPORT, "data": {"set": [[80, 81]]}}}}}, ("127.0.0.1", 81)),
        ({"dnat": {"family": "ip6", "addr": "fd00::3"}}, ("10.0.0.2", 80)),
    ],
    ids=str,
)
def test_leads_to(told: object, leads_to: tuple[str, int]) -> None:
    found = walked(table([told], kind="nat")).packet
    assert (found.destination, found.port) == leads_to


@pytest.mark.parametrize(("kind", "end"), [("tcp reset", "accept"), ("icmp", "reject"), ("icmpv6", "accept")])
def test_a_way_to_reject_is_a_condition_too(kind: str, end: str) -> None:
    assert walked(table([{"reject": {"type": kind}}]), protocol="udp").end == end


@pytest.mark.parametrize(
    ("name", "chain", "shown", "end"),
    [
        ("ip nat", "out", ("ip nat",), "drop"),
        ("ip filter", "OUTPUT", (), "drop"),
        ("ip filter", "OUTPUT", ("ip filter",), "accept"),
        ("ip6 filter", "OUTPUT", (), "accept"),
    ],
)
def test_what_iptables_shows_is_not_walked_twice_and_all_else_is(
    name: str, chain: str, shown: tuple[str, ...], end: str
) -> None:
    listing = told([DROP], name=name).replace('"out"', f'"{chain}"')
    assert walked(nft.parse(listing, shown)).end == end


@pytest.mark.parametrize(
    ("target", "end", "unsure"),
    [("REJECT", "reject", 0), ("LOG", "accept", 0), ("RETURN", "accept", 0), ("DNAT", "accept", 1)],
)
def test_rules_of_iptables_that_only_nft_shows(target: str, end: str, unsure: int) -> None:
    found = walked(table([{"xt": {"type": "target", "name": target}}]))
    assert (found.end, len(found.unsure)) == (end, unsure)


@pytest.mark.parametrize("flags", ["d", "dormant", ["dormant"]])
def test_a_table_that_sleeps(flags: object) -> None:
    rows = json.loads(LISTING)["nftables"]
    for row in rows:
        if "table" in row:
            row["table"]["flags"] = flags
    assert nft.parse(json.dumps({"nftables": rows})).chains == ()


BLOCKED = [
    *({"prefix": {"addr": f"10.{n >> 8}.{n & 255}.0", "len": 24}} for n in range(1, 20_000)),
    *({"range": [f"11.0.{n >> 8}.{n & 255}", f"11.1.{n >> 8}.{n & 255}"]} for n in range(0, 200, 50)),
    *(f"12.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(50_000)),
    {"elem": {"val": "13.0.0.1", "timeout": 60}},
]


@cache
def blocking(named: bool) -> RuleSet:
    """Drops what goes to one of them."""
    daddr = {"payload": {"protocol": "ip", "field": "daddr"}}
    block = {"name": "blocked", "type": "ipv4_addr", "elem": BLOCKED}
    return table([equal(daddr, "@blocked" if named else {"set": BLOCKED}), DROP], maps=(block,))


@pytest.mark.parametrize(
    ("destination", "end"),
    [
        ("10.0.0.1", "accept"),
        ("10.0.1.1", "drop"),
        ("10.78.31.255", "drop"),
        ("10.78.32.0", "accept"),
        ("11.0.0.49", "drop"),
        ("11.1.0.151", "accept"),
        ("12.0.195.79", "drop"),
        ("12.0.195.80", "accept"),
        ("13.0.0.1", "drop"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_a_long_list_of_addresses(destination: str, end: str, named: bool) -> None:
    assert walked(blocking(named), destination=destination).end == end


def test_many_packets_meet_a_long_list_in_no_time() -> None:
    rules = blocking(True)
    walked(rules)
    assert count_calls(lambda: walked(rules)) < 2_000


@pytest.mark.parametrize(
    ("element", "end"),
    [
        ({"concat": ["10.0.0.2", 80]}, "drop"),
        ({"concat": ["10.0.0.2", 81]}, "accept"),
        ({"concat": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, {"range": [79, 81]}]}, "drop"),
        ({"concat": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, {"range": [81, 82]}]}, "accept"),
    ],
    ids=str,
)
def test_a_set_of_two_keys(element: object, end: str) -> None:
    key = {"concat": [{"payload": {"protocol": "ip", "field": "daddr"}}, DPORT]}
    assert walked(table([equal(key, {"set": [element]}), DROP])).end == end


def test_a_set_that_is_not_listed_is_not_known() -> None:
    found = walked(table([equal(DPORT, "@elsewhere"), DROP]))
    assert (found.end, len(found.unsure)) == ("accept", 1)


def test_maps_that_stand_for_too_many_rules_are_not_known() -> None:
    doors = {"name": "doors", "type": "inet_service", "map": "verdict", "elem": [[n, DROP] for n in range(100)]}
    listing = told(*5 * [[{"vmap": {"key": DPORT, "data": "@doors"}}]], maps=(doors,))
    rules = nft.parse(listing, most_rules=10)
    assert [rule.target.kind for rule in rules.chains[0].rules] == ["unknown"] * 5
    assert walked(rules).end == "accept"


@given(text=mutated_text(LISTING, ("{}", "[]", "null", "-1", '"', ",", '{"match": {}}', '"accept": null')))
def test_any_text_is_rules_or_not_understood(text: str) -> None:
    rules = nft.parse(text)
    Hook(rules, Packet("tcp", "172.17.0.1", "172.17.0.2", 443, outward="docker0"), "output", OWN).through()
