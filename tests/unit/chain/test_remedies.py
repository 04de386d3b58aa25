"""Commands that mend a guest do what they say when they are pasted, and nothing else."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest
from one_container import RULES, guest_space, machine

from portchain.chain.model import Space
from portchain.chain.query import Query
from portchain.chain.rules import iptables
from portchain.chain.rules.model import Chain, Rule, RuleSet, Target
from portchain.chain.walk import trace

OWN = Rule("inet own", "out; reboot", "drop # handle 7", (), Target("drop"))
NATIVE = RuleSet(
    (
        Chain("inet own", "out; reboot", (OWN,), "output", 10),
        Chain("inet shut", "out", (), "output", 10, "drop"),
    )
)


def filtered(text: str) -> RuleSet:
    """The rules with others in place of table filter."""
    return iptables.parse(f"*filter\n{text}\nCOMMIT\n{RULES.partition('COMMIT')[2]}")


def remedy(space: Space) -> str:
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
