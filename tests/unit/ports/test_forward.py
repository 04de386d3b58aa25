from __future__ import annotations

import pytest
from hypothesis import given

from portchain.ports.forward import Endpoint, Forward
from support.port_strategies import endpoints


@given(endpoints)
def test_endpoints_read_back(endpoint: Endpoint) -> None:
    assert Endpoint.parse(str(endpoint)) == endpoint


@pytest.mark.parametrize("text", ["localhost:80", "tcp:LocalHost:80", "127.0.0.1:80"])
def test_localhost_is_an_address(text: str) -> None:
    assert Endpoint.parse(text) == Endpoint("tcp", "127.0.0.1", 80)


@given(endpoints, endpoints)
def test_forwards_read_back_from_the_inventorys_words(listen: Endpoint, target: Endpoint) -> None:
    if {listen.protocol, target.protocol} != {"tcp", "udp"}:
        assert Forward.parse(**Forward(listen, target).as_dict()) == Forward(listen, target)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("8080", "'8080': expected address:port"),
        ("elsewhere.test:80", "'elsewhere.test': not an IP address"),
        (":65536", "'65536': not a port"),
        ("unix:docker.sock", "'docker.sock': a unix endpoint needs an absolute path"),
        (f"unix:/{'x' * 107}", f"'/{'x' * 107}': a socket's path has at most 107 bytes"),
        ("unix:/a\0b", r"'/a\x00b': a socket's path has at most 107 bytes, none of them zero"),
    ],
)
def test_what_is_wrong_is_named(text: str, named: str) -> None:
    with pytest.raises(ValueError) as error:
        Endpoint.parse(text)
    assert str(error.value).startswith(named)


def test_an_unknown_protocol_is_named() -> None:
    with pytest.raises(ValueError, match="'sctp': not a protocol"):
        Endpoint.parse(":80", "sctp")
