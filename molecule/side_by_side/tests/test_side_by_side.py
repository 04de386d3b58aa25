"""Two guests on one host: each has its own 172.17.0.2:8080, and neither sees anything of the other."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from typing import Any

from testinfra.host import Host

HOST_PORTS = {"left": 18080, "right": 28080}
UID_BASES = {"left": 3000000, "right": 4000000}
DEADLINE = 10.0


def the_other(guest_name: str) -> str:
    """The guest beside this one."""
    (other,) = HOST_PORTS.keys() - {guest_name}
    return other


def ask(guest_name: str, path: str) -> int:
    """The status of a page at the guest's port on the host."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{HOST_PORTS[guest_name]}{path}", timeout=DEADLINE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_each_has_the_same_address_in_its_own_network(engine: Any) -> None:
    assert engine.containers.get("nginx").attrs["NetworkSettings"]["IPAddress"] == "172.17.0.2"


def test_a_request_reaches_the_guest_it_was_meant_for_and_no_other(engine: Any, guest_name: str) -> None:
    nginx = engine.containers.get("nginx")
    mine, others = f"/for-{guest_name}", f"/for-{the_other(guest_name)}"
    assert ask(guest_name, mine) == 404
    end = time.monotonic() + DEADLINE
    while mine.encode() not in (seen := nginx.logs()):
        assert time.monotonic() < end, "nginx has not logged the request"
        time.sleep(0.1)
    assert others.encode() not in seen


def test_their_users_are_different_users_of_the_host(host: Host, guest_name: str) -> None:
    assert host.check_output("cat /proc/1/uid_map").split() == ["0", str(UID_BASES[guest_name]), "999999"]


def test_neither_sees_the_processes_of_the_other(host: Host) -> None:
    names = host.check_output("ps -e -o comm=").split()
    assert names.count("init") == 1
    assert names.count("dockerd") == 1


def test_a_volume_made_in_one_is_not_in_the_other(engine: Any, guest_name: str) -> None:
    engine.volumes.create(guest_name)
    assert the_other(guest_name) not in {volume.name for volume in engine.volumes.list()}
