from __future__ import annotations

import pytest

from portchain.ports.bind_policy import Policy, PolicyError
from portchain.ports.forward import Endpoint


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


@pytest.mark.parametrize("place", [":80", "udp:127.0.0.1:53", "[::1]:1023"])
def test_ports_below_1024_by_one_switch(place: str) -> None:
    endpoint = Endpoint.parse(place)
    Policy.parse(["*:1024-65535"], "49152-65535", None, privileged_ports=True).check(endpoint)
    with pytest.raises(PolicyError, match=r"set host_forwarder_privileged_ports: true .* host_forwarder_bind"):
        policy("*:1024-65535").check(endpoint)


def test_the_switch_is_not_told_of_where_it_does_not_help() -> None:
    with pytest.raises(PolicyError) as refused:
        policy("127.0.0.1:8080").check(Endpoint.parse(":8080"))
    assert "privileged" not in str(refused.value)


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
