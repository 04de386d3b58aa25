from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portchain.ports.publication import Publication, parse_all, parse_publication
from portchain.ports.syntax import ANY_PORT, PortRange
from support.port_strategies import addresses, ports, publications


def port(number: int) -> PortRange:
    return PortRange(number, number)


ACCEPTED = {
    "80": Publication(80),
    ":80": Publication(80),
    "0:80": Publication(80),
    "80/": Publication(80),
    "80/UDP": Publication(80, "udp"),
    "80/sctp": Publication(80, "sctp"),
    "080:080": Publication(80, host=port(80)),
    "8080:80": Publication(80, host=port(8080)),
    "8080:80/udp": Publication(80, "udp", host=port(8080)),
    "8000-8010:80": Publication(80, host=PortRange(8000, 8010)),
    "127.0.0.1::22": Publication(22, address="127.0.0.1"),
    "127.0.0.1:0:22": Publication(22, address="127.0.0.1"),
    "127.0.0.1:8080:80/tcp": Publication(80, address="127.0.0.1", host=port(8080)),
    "0.0.0.0:8080:80": Publication(80, address="0.0.0.0", host=port(8080)),
    "[::1]:8080:80": Publication(80, address="::1", host=port(8080)),
    "::1:8080:80": Publication(80, address="::1", host=port(8080)),
    "[::]::80": Publication(80, address="::"),
    "::::80": Publication(80, address="::"),
    "[2001:DB8:0::7]::80": Publication(80, address="2001:db8::7"),
    "::ffff:192.0.2.7:1:80": Publication(80, address="192.0.2.7", host=port(1)),
    "published=8080,target=80": Publication(80, host=port(8080)),
    "target=53,protocol=udp": Publication(53, "udp"),
}

REFUSED = {
    "": "container port ''",
    "0": "container port '0'",
    "8080:": "container port ''",
    "8080:0": "container port '0'",
    "/udp": "container port ''",
    "http": "'http'",
    "80/icmp": "'icmp'",
    "80/tcp/udp": "'tcp/udp'",
    "65536:80": "host port '65536'",
    "80:65536": "container port '65536'",
    "-1:80": "host port ''",
    "+80:80": "host port '+80'",
    "8o:80": "'8o'",
    " 80:80": "host port ' 80'",
    "٨٠:80": "host port",
    "8010-8000:80": "'8010-8000'",
    "0-10:80": "'0-10'",
    "8000-8010-8020:80": "'8010-8020'",
    "8000-8002:80-81": "8000-8002, container ports 80-81",
    "localhost:80:80": "host address 'localhost'",
    "127.0.0.1:80": "host port '127.0.0.1'",
    "127.0.0:80:80": "host address '127.0.0'",
    "010.0.0.1:80:80": "host address '010.0.0.1'",
    "[::1:80:80": "host address '[::1'",
    "[]:80:80": "host address '[]'",
    "fe80::1%eth0:80:80": "host address 'fe80::1%eth0'",
    ":::80": "host address ':'",
    "host=80,target=80": "'host'",
    "published=8080": "container port ''",
}


@pytest.mark.parametrize("text", ACCEPTED)
def test_what_docker_run_accepts(text: str) -> None:
    assert parse_publication(text) == [ACCEPTED[text]]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused_names_the_wrong_word(text: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_publication(text)
    whole, _, reason = str(error.value).partition(": ")
    assert whole == f"publication {text!r}"
    assert REFUSED[text] in reason


def test_the_long_form_of_compose() -> None:
    words = {
        "name": "web",
        "target": 443,
        "host_ip": "127.0.0.1",
        "published": "8083-9000",
        "protocol": "tcp",
        "app_protocol": "https",
        "mode": "host",
        "x-note": 1,
    }
    assert parse_publication(words) == [Publication(443, "tcp", "127.0.0.1", PortRange(8083, 9000))]
    assert parse_publication({"target": 80}) == [Publication(80)]
    assert parse_publication({"target": "80", "published": 8080, "host_ip": None}) == [Publication(80, host=port(8080))]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({}, "container port ''"),
        ({"target": "80-81"}, "target '80-81'"),
        ({"target": True}, "target True"),
        ({"target": 80, "published": 80.5}, "published 80.5"),
        ({"target": 80, "published": -1}, "host port ''"),
        ({"target": 80, "mode": "bridge"}, "mode 'bridge'"),
        ({"target": 80, "ip": "::1"}, "unknown key 'ip'; allowed: target, published, host_ip"),
        ({"target": 80, "host_ip": "::1/64"}, "host address '::1/64'"),
    ],
)
def test_the_long_form_refused(words: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_publication(words)
    assert named in str(error.value)


@pytest.mark.parametrize("value", [True, 80.5, None, ["80"]])
def test_a_value_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=type(value).__name__):
        parse_publication(value)


def test_a_number_is_a_container_port() -> None:
    assert parse_publication(3000) == [Publication(3000)]


def test_all_wrong_ones_are_told_together() -> None:
    with pytest.raises(ValueError) as error:
        parse_all(["80", "x:80", "80/icmp"])
    assert [line.split(": ")[0] for line in str(error.value).splitlines()] == [
        "publication 'x:80'",
        "publication '80/icmp'",
    ]


@given(publications)
def test_both_notations_read_back(publication: Publication) -> None:
    assert parse_publication(str(publication)) == [publication]
    compose = {"target": publication.container, "published": str(publication.host), "host_ip": publication.address}
    assert parse_publication({**compose, "protocol": publication.protocol}) == [publication]


@given(addresses, ports, ports, st.integers(0, 100))
def test_ranges_expand_side_by_side(address: str, host: int, container: int, more: int) -> None:
    more = min(more, 65535 - host, 65535 - container)
    prefix = f"[{address}]:" if address else ""
    found = parse_publication(f"{prefix}{host}-{host + more}:{container}-{container + more}/udp")
    assert [(p.container, p.host) for p in found] == [(container + i, port(host + i)) for i in range(more + 1)]
    assert [p.host for p in parse_publication(f"{container}-{container + more}")] == [ANY_PORT] * (more + 1)
