"""Restarts from inside, and what goes on meanwhile."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from testinfra.host import Host

from support.waiting import eventually

DEADLINE = 90.0
AWAY = (OSError, ValueError, http.client.HTTPException, RuntimeError)  # RuntimeError: ssh is not up yet


def status_of(port: int, path: str = "/") -> int:
    """The status of a page at the host's localhost."""
    connection = http.client.HTTPConnection("localhost", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_forwards_work_again_after_a_reboot_from_inside(
    host: Host, run_dir: Path, state: dict[str, Any], seed: dict[str, Any]
) -> None:
    """One connection into the guest that goes is held all the time, and so is the guest's network."""
    held = socket.create_connection(("127.0.0.1", seed["host"]["listeners_tcp"][0]))
    host.run("reboot")
    for port in seed["host"]["listeners_tcp"]:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()

    def booted_anew() -> bool:
        again = json.loads((run_dir / "state.json").read_text())
        return bool(again["pid"] != state["pid"] and again["supervisor"] == state["supervisor"])

    eventually(booted_anew, "the guest is back, under the same supervisor", DEADLINE, AWAY)
    held.close()
    eventually(
        lambda: seed["guest"]["eth0"] in host.run("ip -4 -brief address show eth0").stdout,
        "eth0 is addressed",
        DEADLINE,
        AWAY,
    )
    eventually(lambda: status_of(8080) == 200, "nginx answers", DEADLINE, AWAY)
    eventually(lambda: status_of(49671) == 200, "the node port answers", DEADLINE, AWAY)
    eventually(lambda: status_of(49672, "/v2/") == 200, "the registry answers", DEADLINE, AWAY)


def test_a_service_that_is_killed_comes_back(host: Host) -> None:
    def pid() -> str:
        rows = [line.split() for line in host.check_output("ctr -n services.linuxkit task ls").splitlines()]
        return next((row[1] for row in rows if row[0] == "dns-forwarder" and row[2] == "RUNNING"), "")

    before = eventually(pid, "dns-forwarder runs", DEADLINE)
    host.check_output(f"kill -9 {before}")
    eventually(lambda: pid() not in ("", before), "dns-forwarder runs again", DEADLINE)


def test_space_comes_back_to_the_host_after_a_delete(engine: Any, guest_name: str, host: Host) -> None:
    disk = Path("/var/lib/portchain") / guest_name / "data.img"
    volume = engine.volumes.create("ballast")
    mountpoint = volume.attrs["Mountpoint"]
    host.check_output(f"dd if=/dev/urandom of={mountpoint}/file bs=1M count=64 conv=fsync")
    full = disk.stat().st_blocks
    volume.remove()
    eventually(lambda: full - disk.stat().st_blocks >= 60 * 2048, "a smaller image file")
