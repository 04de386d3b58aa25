from __future__ import annotations

from typing import Any

import pytest

from portchain.mapping.forward import Endpoint
from portchain.preflight.guest import Guest, unknown_variables

KNOWN = ["guest_memory", "guest_uid_base", "host_forwarder_forwards"]


def problems(**given: Any) -> list[str]:
    return list(Guest("a", given, {}).problems())


def test_a_misspelt_variable_is_named_with_the_right_one() -> None:
    guest = Guest("a", {"guest_memroy": "2g", "guest_memory": "2g", "portchain_guest": "a"}, {})
    assert list(unknown_variables(guest, KNOWN)) == [
        "guest a: no role has a variable guest_memroy; did you mean guest_memory?"
    ]


def test_a_variable_like_none_is_named_too() -> None:
    [problem] = unknown_variables(Guest("a", {"workloads_zzz": 1}, {}), KNOWN)
    assert problem.startswith("guest a: no role has a variable workloads_zzz; ansible-doc")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"guest_memory": "lots"}, "guest a: guest_memory: 'lots': not a size"),
        ({"guest_data_size": "20 q"}, "guest a: guest_data_size: '20 q': not a size"),
        ({"guest_uid_base": 5}, "guest a: guest_uid_base: 5: at least 65536"),
        ({"guest_uid_count": 0}, "guest a: guest_uid_count: 0: at least 65536"),
        ({"guest_subnet": "192.168.65.0/30"}, "guest a: guest_subnet: '192.168.65.0/30': too small"),
        ({"guest_subnet": "192.168.65.3/24"}, "guest a: guest_subnet: 192.168.65.3/24 has host bits set"),
        ({"guest_allowlist": ["quay.io:443"]}, "guest a: guest_allowlist: 'quay.io:443' is not a name such as quay.io"),
        ({"guest_http_proxy": "https://p"}, "guest a: guest_http_proxy: 'https://p' is not the URL of a proxy"),
        ({"guest_no_proxy": ["a b"]}, "guest a: guest_no_proxy: 'a b' is not a name such as quay.io"),
        ({"guest_host_access": ["80", "8000-70000"]}, "guest a: guest_host_access: '70000': not a port"),
        (
            {"host_forwarder_forwards": [{"listen": ":8080", "target": ":70000"}]},
            "guest a: host_forwarder_forwards[0]: '70000': not a port; a number from 0 to 65535",
        ),
        (
            {"host_forwarder_forwards": [{"listen": ":8080"}]},
            "guest a: host_forwarder_forwards[0]: '': expected address:port",
        ),
        (
            {"workloads_containers": [{"name": "web", "ports": ["80", "8o:80"]}]},
            "guest a: workloads_containers web: ports[1]: publication '8o:80': host port '8o'",
        ),
        (
            {"workloads_containers": [{"name": "web", "ports": ["80", "80:80"]}]},
            "guest a: workloads_containers web: ports[1]: Ports are not available: the policy of the host refuses",
        ),
        ({"host_forwarder_bind": ["80"]}, "guest a: host_forwarder_bind: '80': expected address:ports"),
        (
            {"docker_networks_networks": [{"name": "n", "subnet": "10.0.0.0/33"}]},
            "guest a: docker_networks_networks n: '10.0.0.0/33' does not appear to be",
        ),
    ],
)
def test_a_value_that_cannot_be_read_is_named(given: dict[str, Any], problem: str) -> None:
    [found] = problems(**given)
    assert found.startswith(problem)


def test_good_values_are_no_problem() -> None:
    forwards = [{"listen": ":8080", "target": "127.0.0.1:8080"}, {"listen": "unix:/a", "target": "unix:/b"}]
    guest = Guest("a", {"host_forwarder_forwards": forwards, "guest_memory": "2g"}, {"guest_subnet": "192.168.65.0/24"})
    assert not list(guest.problems())
    assert guest.listens() == [
        (Endpoint("tcp", "", 8080), "guest a: host_forwarder_forwards[0]"),
        (Endpoint("unix", "/a"), "guest a: host_forwarder_forwards[1]"),
    ]


def test_the_roles_default_holds_where_nothing_was_given() -> None:
    guest = Guest("a", {"guest_memory": "2g"}, {"guest_memory": "4g", "guest_pids": 4096})
    assert (guest["guest_memory"], guest["guest_pids"], guest["guest_nothing"]) == ("2g", 4096, None)
