from __future__ import annotations

from portchain.linux.subordinate_ids import IdRange
from portchain.preflight.guest_conflicts import find_clashing_subnets, find_duplicate_ports, find_overlapping_ids
from support.described_guests import guest

MILLION = 1_000_000


def forwards(*listens: str) -> list[dict[str, str]]:
    return [{"listen": listen, "target": "127.0.0.1:80"} for listen in listens]


def test_two_guests_with_the_same_ids() -> None:
    assert list(find_overlapping_ids([guest("a"), guest("b", guest_uid_base=MILLION + 999_999)], {})) == [
        "guest b: guest_uid_base 1999999 (+1000000) overlaps guest a's; "
        "set guest_uid_base to a free one, such as 3000000"
    ]
    assert not list(find_overlapping_ids([guest("a"), guest("b", guest_uid_base=2 * MILLION)], {}))


def test_ids_that_another_has_reserved() -> None:
    ours, alice = IdRange("portchain-a", MILLION, MILLION), IdRange("alice", 1_900_000, 200_000)
    reserved = {"/etc/subuid": [ours, alice], "/etc/subgid": [alice]}
    assert list(find_overlapping_ids([guest("a")], reserved)) == [
        "guest a: guest_uid_base 1000000 (+1000000) overlaps alice:1900000:200000 in /etc/subuid and /etc/subgid; "
        "set guest_uid_base to a free one, such as 3000000"
    ]


def test_ids_that_a_guest_outside_the_inventory_has_reserved() -> None:
    [problem] = find_overlapping_ids([guest("a")], {"/etc/subuid": [IdRange("portchain-b", MILLION, MILLION)]})
    assert "portchain-b:1000000:1000000 in /etc/subuid;" in problem


def test_a_host_port_twice_in_a_guest_and_between_two() -> None:
    one = guest("a", host_forwarder_forwards=forwards(":8080", "127.0.0.1:8080"))
    other = guest("b", host_forwarder_forwards=forwards("[::1]:8080", ":8081"))
    assert list(find_duplicate_ports([one, other])) == [
        "guest a: host_forwarder_forwards[1]: tcp:127.0.0.1:8080 is taken by "
        "guest a: host_forwarder_forwards[0] (tcp::8080); give one of them another port",
        "guest b: host_forwarder_forwards[0]: tcp:[::1]:8080 is taken by "
        "guest a: host_forwarder_forwards[0] (tcp::8080); give one of them another port",
    ]


def test_a_publication_and_a_forward_of_another_guest() -> None:
    ports = {"x1": ["81:80"], "y1": ["0.0.0.0:81:81", "81:80/udp", "80"]}
    containers = [{"name": name, "image": "i", "ports": published} for name, published in ports.items()]
    one = guest("a", workloads_containers=containers)
    other = guest("b", host_forwarder_forwards=forwards(":82", "127.0.0.1:81"))
    found = list(find_duplicate_ports([one, other]))
    assert found[0] == (
        "guest a: workloads_containers y1: ports[0]: tcp:0.0.0.0:81 is taken by "
        "guest a: workloads_containers x1: ports[0] (tcp::81); give one of them another port"
    )
    assert [line.partition(":81 is taken")[0] for line in found[1:]] == [
        "guest b: host_forwarder_forwards[1]: tcp:127.0.0.1"
    ] * 2


def test_subnets_that_overlap() -> None:
    networks = [
        {"name": "n", "subnet": "172.17.128.0/17", "gateway": "172.17.128.1"},
        {"name": "m", "subnet": "192.168.64.0/23", "gateway": "192.168.64.1"},
    ]
    assert list(find_clashing_subnets(guest("a", docker_networks_networks=networks))) == [
        "guest a: docker_networks_networks n: 172.17.128.0/17 overlaps 172.17.0.0/16 of docker0, the engine's own "
        "bridge; choose another subnet",
        "guest a: docker_networks_networks m: 192.168.64.0/23 overlaps 192.168.65.0/24 of guest_subnet; "
        "choose another subnet",
    ]


def test_a_subnet_that_is_the_gateways_own() -> None:
    assert list(find_clashing_subnets(guest("a", guest_subnet="192.168.66.0/24"))) == [
        "guest a: guest_subnet: 192.168.66.0/24 overlaps 192.168.66.0/24 of the gateway's way to the outside; "
        "choose another subnet"
    ]


def test_gateways_that_are_no_host_of_their_subnet() -> None:
    for gateway in ("192.168.50.1", "192.168.49.0", "192.168.49.255"):
        networks = [{"name": "n", "subnet": "192.168.49.0/24", "gateway": gateway}]
        assert list(find_clashing_subnets(guest("a", docker_networks_networks=networks))) == [
            f"guest a: docker_networks_networks n: gateway {gateway} is no host address of 192.168.49.0/24; "
            "take one, such as 192.168.49.1"
        ]
