"""What cannot be known of the guest's rules is told, and nobody is accused of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from portchain.trace.chain import Chain
from portchain.trace.judge.chains import trace
from portchain.trace.parse import iptables, nft
from portchain.trace.query import Query
from portchain.trace.rules.filter_rules import RuleSet
from support.one_container import DNAT, RULES, container_space, guest_space, machine, web

SELDOM = "-m recent --name x --rcheck"
MASQUERADE = "[3:160] -A POSTROUTING -o docker0 -m addrtype --src-type LOCAL -j MASQUERADE\n"
FILTER = ":DOCKER - [0:0]\n[0:0] -A FORWARD"


def chain(rules: str) -> Chain:
    """The one of a guest with these rules."""
    return trace(machine(space=guest_space(rules)), Query(8080)).chains[0]


def filtering(*rules: str) -> str:
    """The rules with more in table filter."""
    return RULES.replace(FILTER, FILTER.replace("[0:0] -A FORWARD", "\n".join((*rules, "[0:0] -A FORWARD"))))


@pytest.mark.parametrize(
    "rules",
    [
        filtering(f"-A OUTPUT {SELDOM} -j ACCEPT", "-A OUTPUT -j DROP"),
        filtering("-A INPUT -m set --match-set friends src -j ACCEPT", "-A INPUT -i docker0 -j DROP"),
        filtering("-A INPUT -j NFQUEUE --queue-num 0", "-A INPUT -j DROP"),
        RULES.replace(DNAT, f"-A DOCKER {SELDOM} -p tcp -j DNAT --to-destination 172.17.0.2:80\n"),
        RULES.replace(DNAT, "-A DOCKER -p tcp -j DNAT --to-destination 172.17.0.2-172.17.0.9\n"),
        RULES.replace(MASQUERADE, f"-A POSTROUTING {SELDOM} -j MASQUERADE\n"),
    ],
    ids=str,
)
def test_what_cannot_be_known_is_a_note_and_no_verdict(rules: str) -> None:
    found = chain(rules)
    assert found.verdict is None
    assert [one for one in found.notes if "cannot be told" in one] or found.hops[-1].state == "unknown"


def test_what_is_not_understood_is_told() -> None:
    warning = "# Warning: iptables-legacy tables present, use iptables-legacy-save to see them"
    notes = chain(f"{RULES}{warning}\n" + "nonsense\n" * 5).notes
    assert [one.rpartition("understood: ")[2] for one in notes] == [warning, "nonsense"]
    (long,) = chain(f"{RULES}{'x' * 10_000}\n").notes
    assert len(long) < 500


def test_where_it_leads_cannot_be_told() -> None:
    hop = chain(RULES.replace(DNAT, f"-A DOCKER {SELDOM} -p tcp -j DNAT --to-destination 172.17.0.2:80\n")).hops[-1]
    assert (hop.kind, hop.state) == ("nat", "unknown")
    assert SELDOM in hop.says


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("-A INPUT -d 127.0.0.0/8 ! -i lo -j DROP", "filter-drop"),
        ("-A INPUT -d 172.17.0.1/32 -i docker0 -j DROP", ""),
        (f"-A OUTPUT {SELDOM} -j DROP", ""),
    ],
)
def test_answers_are_for_who_asked(rule: str, code: str) -> None:
    verdict = chain(filtering(rule)).verdict
    assert (verdict.code if verdict else "") == code


def test_a_container_knows_nothing_of_the_guests_translations_and_marks() -> None:
    own = iptables.parse("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m conntrack --ctstate DNAT -j DROP\nCOMMIT\n")
    inside = web(space=replace(container_space(), rules=own))
    assert trace(machine(containers=(inside,)), Query(8080)).verdict is None


UFW = """\
:ufw-before-input - [0:0]
:ufw-not-local - [0:0]
:ufw-before-logging-input - [0:0]
:ufw-before-output - [0:0]
:ufw-track-output - [0:0]
-A INPUT -j ufw-before-logging-input
-A INPUT -j ufw-before-input
-A INPUT -j DROP
-A OUTPUT -j ufw-before-output
-A OUTPUT -j ufw-track-output
-A OUTPUT -j DROP
-A ufw-before-logging-input -m conntrack --ctstate NEW -m limit --limit 3/min -j LOG --log-prefix "[U] "
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j DROP
-A ufw-not-local -j DROP
-A ufw-before-output -o lo -j ACCEPT
-A ufw-track-output -p tcp -m conntrack --ctstate NEW -j ACCEPT
-A ufw-track-output -p udp -m conntrack --ctstate NEW -j ACCEPT"""
FIREWALLD = [
    [{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}, {"accept": None}],
    [{"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}, {"accept": None}],
    [{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}, {"accept": None}],
    [{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "invalid"}}, {"drop": None}],
    [
        {"match": {"op": "==", "left": {"payload": {"protocol": "icmp", "field": "type"}}, "right": "echo-request"}},
        {"accept": None},
    ],
    [{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}],
]


def firewalld() -> str:
    """The listing of its filter for hook input, in short."""
    at = {"family": "inet", "table": "firewalld"}
    base = {**at, "name": "filter_INPUT", "type": "filter", "hook": "input", "prio": 10, "policy": "accept"}
    rows = ({"rule": {**at, "chain": "filter_INPUT", "handle": n, "expr": one}} for n, one in enumerate(FIREWALLD))
    return json.dumps({"nftables": [{"table": {"family": "inet", "name": "firewalld"}}, {"chain": base}, *rows]})


@pytest.mark.parametrize(
    "rules",
    [iptables.parse(filtering(*UFW.splitlines())), iptables.parse(RULES).joined(nft.parse(firewalld()))],
    ids=["ufw", "firewalld"],
)
def test_firewalls_that_people_have_let_it_through_without_a_word(rules: RuleSet) -> None:
    found = trace(machine(space=replace(guest_space(), rules=rules)), Query(8080)).chains[0]
    assert (found.verdict, found.notes) == (None, ())
