"""Commands that mend a guest do what they say when they are pasted, and nothing else."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from portchain.trace.judge.chains import trace
from portchain.trace.model import NetworkNamespace
from portchain.trace.parse import iptables
from portchain.trace.query import Query
from portchain.trace.rules.filter_rules import Rule, RuleChain, RuleSet, Target
from support.one_container import RULES, guest_space, machine, web

OWN = Rule("inet own", "out; reboot", "drop # handle 7", (), Target("drop"))
NATIVE = RuleSet(
    (
        RuleChain("inet own", "out; reboot", (OWN,), "output", 10),
        RuleChain("inet shut", "out", (), "output", 10, "drop"),
    )
)


def filtered(text: str) -> RuleSet:
    """The rules with others in place of table filter."""
    return iptables.parse(f"*filter\n{text}\nCOMMIT\n{RULES.partition('COMMIT')[2]}")


def remedy(space: NetworkNamespace) -> str:
    """That of the one chain there is."""
    verdict = trace(machine(space=space), Query(8080)).verdict
    assert verdict
    return verdict.remedy


@pytest.mark.parametrize(
    ("rules", "command"),
    [
        (
            filtered(":OUTPUT ACCEPT [0:0]\n-A OUTPUT ! -d 127.0.0.0/8 -p tcp -j DROP"),
            "iptables -t filter -D OUTPUT ! -d 127.0.0.0/8 -p tcp -j DROP",
        ),
        (
            filtered(':OUTPUT ACCEPT [0:0]\n-A OUTPUT -m comment --comment "$(reboot); `reboot`" -j DROP'),
            "iptables -t filter -D OUTPUT -m comment --comment '$(reboot); `reboot`' -j DROP",
        ),
        (filtered(":OUTPUT DROP [0:0]"), "iptables -t filter -P OUTPUT ACCEPT"),
        (RuleSet(NATIVE.chains[:1]), "nft delete rule inet own 'out; reboot' handle 7"),
        (RuleSet(NATIVE.chains[1:]), "nft chain inet shut out '{ policy accept; }'"),
    ],
    ids=["rule", "comment", "policy", "nft", "nft-policy"],
)
def test_what_the_guests_shell_is_given(rules: RuleSet, command: str) -> None:
    nat = iptables.parse(f"*nat{RULES.partition('*nat')[2]}")
    whole = rules if rules.chain("ip nat", "OUTPUT") else nat.joined(rules)
    words = shlex.split(remedy(replace(guest_space(), rules=whole)))
    assert words[:5] == ["portchain", "shell", "--guest", "linuxkit", "--"]
    assert " ".join(words[5:]) == command


def test_a_link_may_have_any_name() -> None:
    space = guest_space()
    links = tuple(replace(one, name="$(reboot)", up=False) if one.name == "veth1" else one for one in space.links)
    words = shlex.split(remedy(replace(space, links=links)))
    assert words[5:] == ["ip link set '$(reboot)' up"]


def test_a_containers_own_port_is_said_to_be_where_it_is_published() -> None:
    verdict = trace(machine(), Query(80)).verdict
    assert verdict
    assert verdict.remedy == "web's port 80 is at *:8080 of the host"


def test_a_containers_own_port_that_is_nowhere_is_to_be_published() -> None:
    verdict = trace(machine(forwards=(), containers=(web(bound=(), wanted=()),)), Query(80)).verdict
    assert verdict
    assert verdict.remedy == "web listens on it inside, unpublished: docker run -p 80:80 …"
