"""Restarts from inside, and what goes on meanwhile."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testinfra.host import Host

DEADLINE = 90.0


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Poll until ``condition`` holds."""
    end = time.monotonic() + DEADLINE
    while True:
        try:
            found = condition()
        except (OSError, ValueError, http.client.HTTPException, RuntimeError):  # RuntimeError: ssh is not up yet
            found = None
        if found:
            return found
        assert time.monotonic() < end, f"not within {DEADLINE} s: {what}"
        time.sleep(0.2)


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
    host.run("reboot")
    for port in seed["host"]["listeners_tcp"]:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()

    def booted_anew() -> bool:
        again = json.loads((run_dir / "state.json").read_text())
        return bool(again["pid"] != state["pid"] and again["supervisor"] == state["supervisor"])

    wait_for(booted_anew, "the guest is back, under the same supervisor")
    wait_for(lambda: seed["guest"]["eth0"] in host.run("ip -4 -brief address show eth0").stdout, "eth0 is addressed")
    wait_for(lambda: status_of(8080) == 200, "nginx answers")
    wait_for(lambda: status_of(49671) == 200, "the node port answers")
    wait_for(lambda: status_of(49672, "/v2/") == 200, "the registry answers")


def test_a_service_that_is_killed_comes_back(host: Host) -> None:
    def pid() -> str:
        rows = [line.split() for line in host.check_output("ctr -n services.linuxkit task ls").splitlines()]
        return next((row[1] for row in rows if row[0] == "dns-forwarder" and row[2] == "RUNNING"), "")

    before = wait_for(pid, "dns-forwarder runs")
    host.check_output(f"kill -9 {before}")
    wait_for(lambda: pid() not in ("", before), "dns-forwarder runs again")


def test_space_comes_back_to_the_host_after_a_delete(engine: Any, guest_name: str, host: Host) -> None:
    disk = Path("/var/lib/portchain") / guest_name / "data.img"
    volume = engine.volumes.create("ballast")
    mountpoint = volume.attrs["Mountpoint"]
    host.check_output(f"dd if=/dev/urandom of={mountpoint}/file bs=1M count=64 conv=fsync")
    full = disk.stat().st_blocks
    volume.remove()
    end = time.monotonic() + 10
    while full - disk.stat().st_blocks < 60 * 2048:
        assert time.monotonic() < end, "the image file did not shrink within 10 s"
        time.sleep(0.2)
