"""What cannot be known of the guest's rules is told, and nobody is accused of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from one_container import DNAT, RULES, container_space, guest_space, machine, web

from portchain.chain.query import Query
from portchain.chain.rules import iptables
from portchain.chain.trace import Chain
from portchain.chain.walk import trace

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
