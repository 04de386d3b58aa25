from __future__ import annotations

import pytest

from portchain.host.docker_api.publications import ContainerPublication, assign_guest_endpoints, in_allocation_order
from portchain.ports.forward import Endpoint

SEED = (22, 2376, 5000, 8443, 32443)
SEED_GUEST = {22: 55004, 2376: 55003, 5000: 55002, 8443: 55001, 32443: 55000}


def asked(key: str, ip: str = "", port: str = "") -> ContainerPublication:
    found = ContainerPublication.read(key, {"HostIp": ip, "HostPort": port})
    assert found
    return found


def places(planned: list[ContainerPublication]) -> list[str]:
    return [one.guest.hostport for one in planned]


def test_the_seeds_ports_come_out_of_what_minikube_asks() -> None:
    planned = assign_guest_endpoints([asked(f"{port}/tcp", "127.0.0.1") for port in SEED], [])
    assert {p.container: p.guest for p in planned} == {
        port: Endpoint("tcp", "127.0.0.1", guest) for port, guest in SEED_GUEST.items()
    }
    assert [p.container for p in in_allocation_order(planned)] == [32443, 5000, 8443, 22, 2376]


def test_an_explicit_port_keeps_its_number_where_the_guest_has_it_free() -> None:
    wanted = [asked("80/tcp", "", "8080"), asked("81/tcp", "127.0.0.1", "81"), asked("53/udp", "", "53")]
    taken = [Endpoint.parse("udp:127.0.0.1:53"), Endpoint.parse("udp:192.168.65.3:53")]
    assert places(assign_guest_endpoints(wanted, [], taken)) == ["0.0.0.0:8080", "127.0.0.1:81", "127.0.0.1:55000"]


def test_an_address_that_the_guest_lacks_becomes_its_loopback() -> None:
    wanted = [asked("80/tcp", "192.0.2.1", "80"), asked("81/tcp", "::1", "81"), asked("82/tcp", "127.0.0.2", "82")]
    assert places(assign_guest_endpoints(wanted, [])) == ["127.0.0.1:80", "127.0.0.1:81", "127.0.0.2:82"]


def test_a_range_leaves_the_choice_to_the_host() -> None:
    (planned,) = assign_guest_endpoints([asked("80/tcp", "", "8000-8010")], [])
    assert (planned.guest.hostport, planned.explicit) == ("127.0.0.1:55000", None)


def test_containers_that_can_run_together_never_share_a_place() -> None:
    first = assign_guest_endpoints([asked("80/tcp", "192.0.2.1", "80"), asked("81/tcp")], [])
    second = assign_guest_endpoints([asked("80/tcp", "192.0.2.2", "80"), asked("81/tcp")], first)
    assert places(second) == ["127.0.0.1:55001", "127.0.0.1:55002"]


def test_a_container_takes_the_place_of_one_it_cannot_run_beside() -> None:
    first = assign_guest_endpoints([asked("80/tcp", "", "8080")], [])
    assert places(assign_guest_endpoints([asked("80/tcp", "127.0.0.1", "8080")], first)) == ["127.0.0.1:8080"]


def test_two_of_one_container_at_one_host_port_share_a_place_for_the_engine_to_refuse() -> None:
    twice = [asked("80/tcp", "", "8080"), asked("81/tcp", "127.0.0.1", "8080"), asked("82/udp", "", "8080")]
    assert places(assign_guest_endpoints(twice, [])) == ["127.0.0.1:8080", "127.0.0.1:8080", "0.0.0.0:8080"]
    beside = [asked("80/tcp", "127.0.0.1", "8080"), asked("81/tcp", "::1", "8080")]
    assert places(assign_guest_endpoints(beside, [])) == ["127.0.0.1:55000", "127.0.0.1:8080"]


@pytest.mark.parametrize("key", ["80", "80/tcp", "80/TCP"])
def test_a_port_is_the_same_however_it_is_written(key: str) -> None:
    assert (asked(key).key, asked(key).canonical) == (key, "80/tcp")
