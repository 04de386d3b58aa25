from __future__ import annotations

import pytest
from hypothesis import given

from portchain.mapping.conflict import conflicts
from portchain.mapping.forward import Endpoint, Forward
from portchain.mapping.plan import Planned, plan
from portchain.mapping.publication import Publication, parse_all
from portchain.mapping.words import ANY_PORT

from .strategies import plannable

SEED = ["22", "2376", "5000", "8443", "32443", "8080:8080"]
SEED_HOST_PORTS = {22: 49674, 2376: 49675, 5000: 49672, 8443: 49673, 32443: 49671, 8080: 8080}
SEED_GUEST = {22: 55004, 2376: 55003, 5000: 55002, 8443: 55001, 32443: 55000}


def ends(planned: list[Planned]) -> list[tuple[str, str, str]]:
    return [(p.forward.listen.place, p.forward.target.place, str(p.guest)) for p in planned]


def test_the_seeds_machine_comes_out() -> None:
    known = [Forward.parse(f":{SEED_HOST_PORTS[c]}", f"127.0.0.1:{port}") for c, port in SEED_GUEST.items()]
    seed = [
        (f":{SEED_HOST_PORTS[c]}", f"127.0.0.1:{port}", f"127.0.0.1:{port}:{c}/tcp") for c, port in SEED_GUEST.items()
    ]
    assert ends(plan(parse_all(SEED), known=known)) == [*seed, (":8080", "127.0.0.1:8080", "8080:8080/tcp")]


def test_without_earlier_forwards_the_host_counts_up_from_49152() -> None:
    taken = [Endpoint.parse("127.0.0.1:49153")]
    planned = plan(parse_all(SEED), host_taken=taken)
    assert [p.forward.listen.port for p in planned] == [49157, 49156, 49155, 49154, 49152, 8080]
    assert [p.forward.target.port for p in planned] == [*SEED_GUEST.values(), 8080]


def test_a_host_address_that_the_guest_lacks_becomes_its_loopback() -> None:
    asked = parse_all(["192.0.2.7:80:80", "192.168.65.3:81:80", "127.0.0.2:82:80", "[::1]:83:80", "0.0.0.0:84:80"])
    assert ends(plan(asked, guest_addresses=["192.168.65.3"])) == [
        ("192.0.2.7:80", "127.0.0.1:80", "127.0.0.1:80:80/tcp"),
        ("192.168.65.3:81", "192.168.65.3:81", "192.168.65.3:81:80/tcp"),
        ("127.0.0.2:82", "127.0.0.2:82", "127.0.0.2:82:80/tcp"),
        ("[::1]:83", "127.0.0.1:83", "127.0.0.1:83:80/tcp"),
        ("0.0.0.0:84", "127.0.0.1:84", "0.0.0.0:84:80/tcp"),
    ]


def test_a_number_that_the_guest_has_taken_is_replaced_there() -> None:
    asked = parse_all(["192.0.2.7:80:80", "192.0.2.8:80:81", "8080:8080"])
    planned = plan(asked, guest_taken=[Endpoint.parse("0.0.0.0:8080")])
    assert [p.forward.target.place for p in planned] == ["127.0.0.1:55001", "127.0.0.1:80", "127.0.0.1:55000"]


def test_of_a_range_the_first_free_port_is_taken() -> None:
    planned = plan(parse_all(["8000-8002:80", "8000-8002:81", "8000:82"]))
    assert [p.forward.listen.port for p in planned] == [8002, 8001, 8000]


def test_protocols_are_apart() -> None:
    planned = plan(parse_all(["53", "53/udp", "5353:53/udp", "5353:53"]))
    assert [p.forward.target for p in planned[:2]] == [Endpoint(p, "127.0.0.1", 55000) for p in ("tcp", "udp")]


def test_what_cannot_be_had_is_told_together() -> None:
    asked = parse_all(["8080:80", "127.0.0.1:8080:81", "80/sctp", "9000-9001:80", "443:443"])
    taken = [Endpoint.parse(text) for text in ("127.0.0.1:9000", "[::]:9001")]
    with pytest.raises(ValueError) as error:
        plan(asked, host_taken=taken)
    assert sorted(str(error.value).splitlines()) == [
        "publication 80/sctp: sctp is not forwarded to the host; one of tcp, udp",
        "publication 8080:80/tcp: host port 8080 is taken by tcp:127.0.0.1:8080",
        "publication 9000-9001:80/tcp: host port 9000-9001 is taken by tcp:127.0.0.1:9000, tcp:[::]:9001",
    ]


def test_a_side_without_free_ports_is_named() -> None:
    every = [Endpoint("tcp", "", port) for port in range(49152, 65536)]
    with pytest.raises(ValueError, match="49152 up is free on the host"):
        plan(parse_all(["80"]), host_taken=every)
    with pytest.raises(ValueError, match="55000 up is free in the guest"):
        plan(parse_all(["80"]), guest_taken=every)


@given(plannable)
def test_plans_never_conflict(asked: list[Publication]) -> None:
    planned = plan(asked)
    assert not conflicts(p.forward.listen for p in planned)
    assert not conflicts(Endpoint(p.guest.protocol, p.guest.address, p.guest.host.first) for p in planned)
    for publication, result in zip(asked, planned, strict=True):
        assert result.publication == publication
        assert result.guest.container == publication.container
        assert result.forward.listen.address == publication.address
        assert publication.host in (ANY_PORT, (result.forward.listen.port, result.forward.listen.port))


@given(plannable)
def test_a_plan_is_stable_under_its_own_forwards(asked: list[Publication]) -> None:
    planned = plan(asked)
    known = [p.forward for p in planned]
    assert plan(asked, known=known, host_taken=[f.listen for f in known]) == planned
