from __future__ import annotations

import pytest

from portchain.mapping.forward import Endpoint
from portchain.mapping.policy import Policy, PolicyError


def policy(*bind: str) -> Policy:
    return Policy.parse(bind, "49152-65535", None)


@pytest.mark.parametrize(
    ("rule", "endpoint", "allowed"),
    [
        ("*:1024-65535", "tcp::8080", True),
        ("*:1024-65535", "udp:[::1]:1023", False),
        ("127.0.0.0/8:*", "tcp:127.0.0.2:1", True),
        ("127.0.0.0/8:*", "tcp::80", False),
        ("127.0.0.0/8:*", "tcp:0.0.0.0:80", False),
        ("[::1]:8080", "tcp:[::1]:8080", True),
        ("[::1]:8080", "tcp:127.0.0.1:8080", False),
        ("*:80", "tcp::80", True),
    ],
)
def test_a_rule_allows_addresses_and_ports(rule: str, endpoint: str, allowed: bool) -> None:
    if allowed:
        policy(rule).check(Endpoint.parse(endpoint))
    else:
        with pytest.raises(PolicyError, match="host_forwarder_bind allows"):
            policy(rule).check(Endpoint.parse(endpoint))


def test_one_rule_of_several_is_enough() -> None:
    policy("127.0.0.1:80", "*:443").check(Endpoint.parse(":443"))


def test_without_rules_nothing_may_be_bound() -> None:
    with pytest.raises(PolicyError, match="allows nothing"):
        policy().check(Endpoint.parse(":8080"))


@pytest.mark.parametrize("wrong", ["80", "*:", "*:0", "*:9-8", "localhost:80", "127.0.0.1/8:80", ":80"])
def test_a_wrong_rule_is_named(wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong.replace("*", r"\*")):
        policy(wrong)


def test_an_address_for_random_ports() -> None:
    assert Policy.parse([], "50000-50001", "*").random_address == ""
    assert Policy.parse([], "50000-50001", "127.0.0.1").random_address == "127.0.0.1"
    with pytest.raises(ValueError, match="range such as"):
        Policy.parse([], "0", None)
