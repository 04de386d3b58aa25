from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from portchain.mapping.forward import Endpoint
from portchain.preflight.check import check
from portchain.preflight.guest import Guest
from portchain.preflight.machine import FILE_SYSTEMS, GIB, Machine, Refusal, Space, held_ports, lacking
from portchain.preflight.sockets import Process

GOOD = Machine(
    root=True,
    kernel="5.19.0-1-amd64",
    file_systems=frozenset(FILE_SYSTEMS),
    user_namespaces=1,
    loop_control=True,
    loop_free=True,
    spaces=[Space(["/var/cache/portchain"], 4 * GIB, 4 * GIB)],
)
WEB = Endpoint("tcp", "", 8080)


def test_a_machine_with_everything_lacks_nothing() -> None:
    assert not list(lacking(GOOD))


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
            {"spaces": [Space(["/a", "/b"], GIB, 4 * GIB)]},
            "machine: 1.0 GiB free for /a and /b, and 4.0 GiB are needed",
        ),
        (
            {"mirrors": {"http://mirror.example/debian": "no answer"}},
            "machine: the package mirror http://mirror.example",
        ),
    ],
)
def test_what_is_lacking_is_named(without: dict[str, Any], named: str) -> None:
    [problem] = lacking(replace(GOOD, **without))
    assert problem.startswith(named)


def test_a_port_held_by_another_is_named_with_its_holder() -> None:
    refused = replace(GOOD, refusals={WEB: Refusal("Address already in use", [Process(7, "nginx")])})
    assert list(held_ports(refused, [(WEB, "guest a: host_forwarder_forwards[0]")])) == [
        "guest a: host_forwarder_forwards[0]: host: tcp::8080: Address already in use: nginx (pid 7) listens there; "
        "stop it, or forward another address or port"
    ]


def test_a_port_held_by_the_guests_own_forwarder_is_fine() -> None:
    refusal = Refusal("Address already in use", [Process(7, "python3"), Process(9, "vpnkit-forwarder")])
    assert not list(held_ports(replace(GOOD, refusals={WEB: refusal}, forwarders=frozenset({7})), [(WEB, "a")]))


def test_an_address_that_the_machine_does_not_have() -> None:
    refused = replace(GOOD, refusals={WEB: Refusal("Cannot assign requested address")})
    assert list(held_ports(refused, [(WEB, "a")])) == [
        "a: host: tcp::8080: Cannot assign requested address; forward another address or port"
    ]


def test_all_problems_are_reported_together() -> None:
    forwards = [{"listen": ":8080", "target": "127.0.0.1:80"}] * 2
    guest = Guest("a", {"guest_memroy": "1g", "guest_memory": "x", "host_forwarder_forwards": forwards}, {})
    machine = replace(GOOD, root=False, refusals={WEB: Refusal("Permission denied")})
    found = check([guest], machine, ["guest_memory", "host_forwarder_forwards"])
    words = ["not root", "guest_memroy", "guest_memory: 'x'", "already the host's", "Permission denied", "Permission"]
    assert [word in problem for word, problem in zip(words, found, strict=True)] == [True] * len(words)
