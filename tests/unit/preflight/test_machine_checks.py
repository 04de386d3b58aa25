from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from portchain.net.listening_sockets import SocketHolder
from portchain.ports.forward import Endpoint
from portchain.preflight.check import check
from portchain.preflight.machine_checks import (
    FILE_SYSTEMS,
    GIB,
    BindRefusal,
    DiskSpace,
    MachineFacts,
    find_held_ports,
    find_lacking,
)
from support.described_guests import guest

GOOD = MachineFacts(
    root=True,
    kernel="5.19.0-1-amd64",
    file_systems=frozenset(FILE_SYSTEMS),
    user_namespaces=1,
    loop_control=True,
    loop_free=True,
    spaces=[DiskSpace(["/var/cache/portchain"], 4 * GIB, 4 * GIB)],
)
WEB = Endpoint("tcp", "", 8080)


def test_a_machine_with_everything_lacks_nothing() -> None:
    assert not list(find_lacking(GOOD))


@pytest.mark.parametrize(
    ("without", "named"),
    [
        ({"root": False}, "machine: not root; run as root, or as a user with sudo"),
        ({"kernel": "5.18.9"}, "machine: kernel 5.18.9 is too old; id-mapped overlays need 5.19 or newer"),
        ({"kernel": "4.20"}, "machine: kernel 4.20 is too old"),
        ({"user_namespaces": 0}, "machine: the kernel allows no user namespaces"),
        (
            {"file_systems": frozenset(FILE_SYSTEMS) - {"overlay"}},
            "machine: the kernel has no overlay; load the module",
        ),
        ({"loop_control": False, "loop_free": False}, "machine: no /dev/loop-control"),
        ({"loop_free": False}, "machine: no free loop device"),
        (
            {"spaces": [DiskSpace(["/a", "/b"], GIB, 4 * GIB)]},
            "machine: 1.0 GiB free for /a and /b, and 4.0 GiB are needed",
        ),
        (
            {"mirrors": {"http://mirror.example/debian": "no answer"}},
            "machine: the package mirror http://mirror.example",
        ),
    ],
)
def test_what_is_lacking_is_named(without: dict[str, Any], named: str) -> None:
    [problem] = find_lacking(replace(GOOD, **without))
    assert problem.startswith(named)


def test_a_port_held_by_another_is_named_with_its_holder() -> None:
    refused = replace(GOOD, refusals={WEB: BindRefusal("Address already in use", [SocketHolder(7, "nginx")])})
    assert list(find_held_ports(refused, [(WEB, "guest a: host_forwarder_forwards[0]")])) == [
        "guest a: host_forwarder_forwards[0]: host: tcp::8080: Address already in use: nginx (pid 7) listens there; "
        "stop it, or forward another address or port"
    ]


def test_a_port_held_by_the_guests_own_forwarder_is_fine() -> None:
    refusal = BindRefusal("Address already in use", [SocketHolder(7, "python3"), SocketHolder(9, "python3")])
    assert not list(find_held_ports(replace(GOOD, refusals={WEB: refusal}, forwarders=frozenset({7})), [(WEB, "a")]))


def test_an_address_that_the_machine_does_not_have() -> None:
    refused = replace(GOOD, refusals={WEB: BindRefusal("Cannot assign requested address")})
    assert list(find_held_ports(refused, [(WEB, "a")])) == [
        "a: host: tcp::8080: Cannot assign requested address; forward another address or port"
    ]


def test_all_problems_are_reported_together() -> None:
    forwards = [{"listen": ":8080", "target": "127.0.0.1:80"}] * 2
    machine = replace(GOOD, root=False, refusals={WEB: BindRefusal("Permission denied")}, images={"guest": False})
    networks = [{"name": "n", "subnet": "172.17.0.0/24", "gateway": "172.17.0.1"}]
    variables = {"guest_image_names": ["guest"], "docker_networks_networks": networks}
    found = check([guest("a", host_forwarder_forwards=forwards, **variables)], machine)
    words = ["not root", "no user root", "overlaps", "is taken by", "Permission denied", "Permission denied"]
    assert [word in problem for word, problem in zip(words, found, strict=True)] == [True] * len(words)
