from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portchain.ports.conflicts import Listeners, clash
from portchain.ports.forward import Endpoint
from support.port_strategies import addresses, endpoints


@pytest.mark.parametrize(
    ("one", "other", "clashes"),
    [
        ("tcp::80", "tcp:127.0.0.1:80", True),
        ("tcp::80", "tcp:[::1]:80", True),
        ("tcp::80", "tcp:0.0.0.0:80", True),
        ("tcp:0.0.0.0:80", "tcp:192.0.2.7:80", True),
        ("tcp:[::]:80", "tcp:[::1]:80", True),
        ("tcp:0.0.0.0:80", "tcp:[::]:80", False),
        ("tcp:0.0.0.0:80", "tcp:[::1]:80", False),
        ("tcp:127.0.0.1:80", "tcp:127.0.0.2:80", False),
        ("tcp::80", "udp::80", False),
        ("tcp::80", "tcp::81", False),
        ("tcp::0", "tcp::0", False),
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "unix:/b", False),
    ],
)
def test_who_clashes(one: str, other: str, clashes: bool) -> None:
    assert clash(Endpoint.parse(one), Endpoint.parse(other)) is clashes


@given(endpoints, endpoints)
def test_clashing_is_mutual(one: Endpoint, other: Endpoint) -> None:
    assert clash(one, other) == clash(other, one)


@given(addresses, addresses, st.integers(1, 3))
def test_the_wildcard_of_both_families_clashes_with_all(one: str, other: str, port: int) -> None:
    assert clash(Endpoint("tcp", "", port), Endpoint("tcp", one, port))
    if clash(Endpoint("tcp", one, port), Endpoint("tcp", other, port)) and one and other:
        assert (":" in one) == (":" in other)


@given(st.lists(endpoints, max_size=8), endpoints)
def test_all_that_clash_are_found(held: list[Endpoint], wanted: Endpoint) -> None:
    listeners, expected = Listeners(held), sorted(one for one in held if clash(one, wanted))
    assert sorted(listeners.clashing(wanted)) == expected
    assert (listeners.first_clashing(wanted) is None) == (not expected)
