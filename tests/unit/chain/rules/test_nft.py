"""Native tables of nft, read from a real listing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from portchain.chain.rules import nft, nft_values, walk
from portchain.chain.rules.model import Packet

LISTING = (Path(__file__).parent / "ruleset.json").read_text()
RULES = nft.parse(LISTING)


def passage(port: int, **words: object) -> walk.Passage:
    """A packet's way through hook output."""
    fields = {"source": "172.17.0.1", "destination": "172.17.0.2", "outward": "docker0", "protocol": "tcp", **words}
    return walk.hook(RULES, Packet(port=port, **fields), "output", lambda address: address.startswith("127."))


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
    found = walk.hook(rules, Packet("tcp", "10.0.0.1", "1.1.1.1", 80), "output", lambda _: False)
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
