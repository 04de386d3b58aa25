from __future__ import annotations

from typing import Any

from portchain.guest.subids import Range
from portchain.preflight.between import clashing_subnets, doubled_ports, overlapping_ids
from portchain.preflight.guest import Guest

MILLION = 1_000_000
DEFAULTS = {"guest_uid_base": MILLION, "guest_uid_count": MILLION, "guest_subnet": "192.168.65.0/24"}


def guest(host: str, **given: Any) -> Guest:
    return Guest(host, given, DEFAULTS)


def forwards(*listens: str) -> list[dict[str, str]]:
    return [{"listen": listen, "target": "127.0.0.1:80"} for listen in listens]


def test_two_guests_with_the_same_ids() -> None:
    assert list(overlapping_ids([guest("a"), guest("b", guest_uid_base=MILLION + 999_999)], {})) == [
        "guest b: guest_uid_base 1999999 (+1000000) overlaps guest a's; "
        "set guest_uid_base to a free one, such as 3000000"
    ]
    assert not list(overlapping_ids([guest("a"), guest("b", guest_uid_base=2 * MILLION)], {}))


def test_ids_that_another_has_reserved() -> None:
    ours, alice = Range("portchain-a", MILLION, MILLION), Range("alice", 1_900_000, 200_000)
    reserved = {"/etc/subuid": [ours, alice], "/etc/subgid": [alice]}
    assert list(overlapping_ids([guest("a")], reserved)) == [
        "guest a: guest_uid_base 1000000 (+1000000) overlaps alice:1900000:200000 in /etc/subuid and /etc/subgid; "
        "set guest_uid_base to a free one, such as 3000000"
    ]


def test_ids_that_a_guest_outside_the_inventory_has_reserved() -> None:
    [problem] = overlapping_ids([guest("a")], {"/etc/subuid": [Range("portchain-b", MILLION, MILLION)]})
    assert "portchain-b:1000000:1000000 in /etc/subuid;" in problem


def test_a_host_port_twice_in_a_guest_and_between_two() -> None:
    one = guest("a", host_forwarder_forwards=forwards(":8080", "127.0.0.1:8080"))
    other = guest("b", host_forwarder_forwards=forwards("[::1]:8080", ":8081"))
    assert list(doubled_ports([one, other])) == [
        "guest a: host_forwarder_forwards[1]: tcp:127.0.0.1:8080 is already the host's for "
        "guest a: host_forwarder_forwards[0] (tcp::8080); give one of them another port",
        "guest b: host_forwarder_forwards[0]: tcp:[::1]:8080 is already the host's for "
        "guest a: host_forwarder_forwards[0] (tcp::8080); give one of them another port",
    ]


def test_a_publication_and_a_forward_of_another_guest() -> None:
    containers = [{"name": "x", "ports": ["81:80"]}, {"name": "y", "ports": ["0.0.0.0:81:81", "81:80/udp", "80"]}]
    one = guest("a", workloads_containers=containers)
    other = guest("b", host_forwarder_forwards=forwards(":82", "127.0.0.1:81"))
    found = list(doubled_ports([one, other]))
    assert found[0] == (
        "guest a: workloads_containers y: ports[0]: tcp:0.0.0.0:81 is already the host's for "
        "guest a: workloads_containers x: ports[0] (tcp::81); give one of them another port"
    )
    assert [line.partition(":81 is already")[0] for line in found[1:]] == [
        "guest b: host_forwarder_forwards[1]: tcp:127.0.0.1"
    ] * 2


def test_subnets_that_overlap() -> None:
    networks = [{"name": "n", "subnet": "172.17.128.0/17"}, {"name": "m", "subnet": "192.168.64.0/20"}]
    problems = list(clashing_subnets(guest("a", docker_networks_networks=networks)))
    assert problems == [
        "guest a: docker_networks_networks n: 172.17.128.0/17 overlaps 172.17.0.0/16 of docker0, the engine's own "
        "bridge; choose another subnet",
        "guest a: docker_networks_networks m: 192.168.64.0/20 overlaps 192.168.65.0/24 of guest_subnet; "
        "choose another subnet",
    ]
    assert not list(clashing_subnets(guest("a", docker_networks_networks=[{"name": "v6", "subnet": "fd00::/64"}])))


def test_gateways_that_are_no_host_of_their_subnet() -> None:
    for gateway in ("192.168.50.1", "192.168.49.0", "192.168.49.255", "router"):
        networks = [{"name": "n", "subnet": "192.168.49.0/24", "gateway": gateway}]
        assert list(clashing_subnets(guest("a", docker_networks_networks=networks))) == [
            f"guest a: docker_networks_networks n: gateway {gateway} is no host address of 192.168.49.0/24; "
            "take one, such as 192.168.49.1"
        ]
