from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given

from portchain.ports.conflicts import clash
from portchain.ports.forward import Endpoint
from portchain.ports.planning import GuestPlanner, plan, target_of
from portchain.ports.publication import Publication, parse_all
from portchain.ports.syntax import ANY_PORT
from support.port_strategies import plannable


def asked(*words: str) -> list[tuple[str, Publication]]:
    """Publications of the container ``web``."""
    return [("web", one) for one in parse_all(words)]


def test_a_port_that_is_named_is_listened_on_and_any_other_is_the_hosts_choice() -> None:
    planned = plan(asked("8080:80", "127.0.0.1:53:53/udp", "22", "9000-9001:80"))
    listens = [str(one.listen) if one.listen else None for one in planned]
    assert listens == ["tcp::8080", "udp:127.0.0.1:53", None, None]
    assert [one.container for one in planned] == ["web"] * 4


def test_a_named_port_comes_before_the_choice_of_a_range() -> None:
    assert len(plan(asked("8000-8002:80", "8000-8002:81", "8000:82"))) == 3


def test_what_the_host_cannot_have_is_told_together() -> None:
    wanted = [*asked("8080:80", "9000-9001:80"), ("other", parse_all(["127.0.0.1:8080:81"])[0])]
    taken = [Endpoint.parse(text) for text in ("127.0.0.1:9000", "[::]:9001")]
    with pytest.raises(ValueError) as error:
        plan(wanted, host_taken=taken)
    assert sorted(str(error.value).splitlines()) == [
        "container other: publication 127.0.0.1:8080:81/tcp: host port 8080 is taken by tcp::8080",
        "container web: publication 9000-9001:80/tcp: host port 9000-9001 is taken by "
        "tcp:127.0.0.1:9000, tcp:[::]:9001",
    ]


@given(plannable)
def test_plans_never_conflict(publications: list[Publication]) -> None:
    planned = plan(("web", one) for one in publications)
    assert [one.publication for one in planned] == publications
    for one in planned:
        port = (one.listen.port, one.listen.port) if one.listen else ANY_PORT
        assert one.publication.host == port
    listens = [one.listen for one in planned if one.listen]
    assert not any(clash(one, other) for one, other in combinations(listens, 2))


def test_a_host_address_that_the_guest_lacks_becomes_its_loopback() -> None:
    planner = GuestPlanner(addresses=["192.168.65.3"])
    inside = [planner.claim("tcp", address, 80) for address in ("192.0.2.7", "192.168.65.3", "127.0.0.2")]
    assert [one.address for one in inside] == ["127.0.0.1", "192.168.65.3", "127.0.0.2"]
    assert planner.claim("tcp", "::1", 81).address == "127.0.0.1"


def test_a_number_that_the_guest_has_taken_is_replaced_there() -> None:
    planner = GuestPlanner([Endpoint.parse("0.0.0.0:8080")])
    assert planner.claim("tcp", "", 8080) == Endpoint("tcp", "127.0.0.1", 55000)
    assert planner.claim("udp", "", 8080) == Endpoint("udp", "", 8080)


def test_ports_that_name_none_are_given_out_from_55000_up_by_protocol() -> None:
    planner = GuestPlanner()
    assert [planner.claim(protocol).port for protocol in ("tcp", "tcp", "udp")] == [55000, 55001, 55000]


def test_a_guest_without_free_ports_says_so() -> None:
    with pytest.raises(ValueError, match="55000 up is free in the guest"):
        GuestPlanner([Endpoint("tcp", "", port) for port in range(55000, 65536)]).claim("tcp")


def test_what_listens_on_the_wildcard_is_reached_on_the_loopback() -> None:
    assert target_of(Endpoint.parse("0.0.0.0:80")) == Endpoint.parse("127.0.0.1:80")
    assert target_of(Endpoint.parse("127.0.0.2:80")) == Endpoint.parse("127.0.0.2:80")
