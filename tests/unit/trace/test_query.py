"""What may be asked about."""

from __future__ import annotations

import pytest

from portchain.ports.forward import Endpoint
from portchain.trace.query import Query


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("8080", Query(8080)),
        (":8080", Query(8080)),
        ("*:8080", Query(8080)),
        ("localhost:8080", Query(8080)),
        ("127.0.0.1:8080", Query(8080, "", "127.0.0.1")),
        ("[::1]:8080", Query(8080, "", "::1")),
        ("udp:53", Query(53, "udp")),
        ("53/udp", Query(53, "udp")),
        ("tcp:127.0.0.1:53", Query(53, "tcp", "127.0.0.1")),
        ("127.0.0.1:53/tcp", Query(53, "tcp", "127.0.0.1")),
    ],
)
def test_reads(text: str, wanted: Query) -> None:
    assert Query.parse(text) == wanted


@pytest.mark.parametrize(
    "text",
    ["", "nginx", "0", "70000", "8080/sctp", "udp:53/tcp", "example.org:80", "-1", "80 80", "http://localhost:8080"],
)
def test_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"not|two|URL"):
        Query.parse(text)


@pytest.mark.parametrize("query", [Query(53), Query(53, "udp"), Query(53, "", "127.0.0.1"), Query(53, "udp", "::1")])
def test_is_written_as_it_is_read(query: Query) -> None:
    assert Query.parse(str(query)) == query


@pytest.mark.parametrize(
    ("query", "listen", "asked"),
    [
        ("8080", "tcp::8080", True),
        ("8080", "udp::8080", True),
        ("8080/tcp", "udp::8080", False),
        ("8081", "tcp::8080", False),
        ("127.0.0.1:8080", "tcp::8080", True),
        ("127.0.0.1:8080", "tcp:0.0.0.0:8080", True),
        ("127.0.0.1:8080", "tcp:127.0.0.2:8080", False),
        ("[::1]:8080", "tcp:0.0.0.0:8080", False),
        ("[::1]:8080", "tcp:[::]:8080", True),
        ("[::1]:8080", "tcp::8080", True),
    ],
)
def test_a_client_comes_to(query: str, listen: str, asked: bool) -> None:
    assert Query.parse(query).asks_for(Endpoint.parse(listen)) is asked
