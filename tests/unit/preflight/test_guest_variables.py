from __future__ import annotations

from typing import Any

import pytest

from portchain.ports.forward import Endpoint
from portchain.preflight.guest_variables import InventoryGuest
from support.described_guests import OPTIONS, guest, problems

NETWORK = {"name": "n", "subnet": "10.9.0.0/24", "gateway": "10.9.0.1"}


def on_network(*addresses: str) -> dict[str, Any]:
    """Containers on the network, each with an address."""
    containers = [
        {"name": f"c{index}", "image": "x", "networks": [{"name": "n", "ipv4_address": address}]}
        for index, address in enumerate(addresses)
    ]
    return {"docker_networks_networks": [NETWORK], "workloads_containers": containers}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            {"guest_uid_base": 4294900000},
            "guest_uid_base: 4294900000 and guest_uid_count 1000000 lead to 4295899999; the greatest id is 4294967294",
        ),
        (
            {"host_forwarder_forwards": [{"listen": ":80", "target": "127.0.0.1:80"}]},
            "host_forwarder_forwards[0]: Ports are not available: the policy of the host refuses TCP :80: "
            "host_forwarder_bind allows *:1024-65535",
        ),
        (
            {
                "host_forwarder_forwards": [
                    {"listen": ":8080", "target": ":80", "protocol": "udp", "proxy_protocol": "v1"}
                ]
            },
            "host_forwarder_forwards[0]: :8080: the PROXY protocol is for tcp, not for udp",
        ),
        (
            {"workloads_containers": [{"name": "web", "image": "x", "ports": ["80", "80:80"]}]},
            "workloads_containers web: ports[1]: Ports are not available: the policy of the host refuses",
        ),
        ({"docker_networks_networks": [NETWORK, NETWORK]}, "docker_networks_networks n: is defined more than once"),
        (
            {"workloads_containers": [{"name": "web", "image": "x"}] * 3},
            "workloads_containers web: is defined more than once",
        ),
        (
            on_network("10.9.1.1"),
            "workloads_containers c0: networks n: ipv4_address: 10.9.1.1 is no host address of 10.9.0.0/24",
        ),
        (on_network("10.9.0.1"), "workloads_containers c0: networks n: ipv4_address: 10.9.0.1 is already taken"),
        (
            on_network("10.9.0.2", "10.9.0.2"),
            "workloads_containers c1: networks n: ipv4_address: 10.9.0.2 is already taken",
        ),
    ],
)
def test_what_does_not_go_together_is_named(given: dict[str, Any], problem: str) -> None:
    [found] = problems(**given)
    assert found.startswith(f"guest a: {problem}")


def test_low_ports_are_allowed_by_the_switch() -> None:
    web = {"name": "web", "image": "x", "ports": ["80:80", "127.0.0.1:443:443/udp"]}
    assert len(problems(workloads_containers=[web])) == 2
    assert not problems(workloads_containers=[web], host_forwarder_privileged_ports=True)


def test_good_values_are_no_problem() -> None:
    forwards = [{"listen": ":8080", "target": "127.0.0.1:8080"}, {"listen": "unix:/a", "target": "unix:/b"}]
    assert guest("a", host_forwarder_forwards=forwards, guest_memory="2g").listens() == [
        (Endpoint("tcp", "", 8080), "guest a: host_forwarder_forwards[0]"),
        (Endpoint("unix", "/a"), "guest a: host_forwarder_forwards[1]"),
    ]
    assert not problems(**on_network("10.9.0.2", "10.9.0.3"))


def test_the_roles_default_holds_where_nothing_was_given() -> None:
    found = guest("a", guest_memory="2g")
    assert (found["guest_memory"], found["guest_pids"], found["guest_nothing"]) == ("2g", 4096, None)


def test_what_cannot_be_read_is_left_out_of_the_rest() -> None:
    forwards = [{"listen": "x", "target": ":1"}, {"listen": ":81", "target": ":1"}]
    read, wrong = InventoryGuest.read("a", {"host_forwarder_forwards": forwards}, OPTIONS)
    assert len(wrong) == 1
    assert [label for _, label in read.listens()] == ["guest a: host_forwarder_forwards[1]"]
