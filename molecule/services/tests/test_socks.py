"""socks: a container's own address, reached from the host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from testinfra.host import Host

from support.waiting import eventually

SERVER = ("python3", "-m", "http.server", "8080", "--directory", "/etc")


def test_a_containers_own_address_answers(probe: Callable[..., Any], machine: Host, run_dir: Path) -> None:
    container = probe(*SERVER[1:], entrypoint=SERVER[0])
    container.reload()
    address = container.attrs["NetworkSettings"]["IPAddress"]
    assert address.startswith("172.17.0.")
    fetch = f"curl -sS --max-time 5 --socks5-hostname localhost{run_dir}/socks.sock http://{address}:8080/hostname"
    page = eventually(lambda: (found := machine.run(fetch)).rc == 0 and found.stdout, f"an answer to {fetch}")
    assert page.strip() == container.id[:12]


def test_names_are_resolved_in_the_guest(machine: Host, run_dir: Path) -> None:
    fetch = f"curl -sS --max-time 5 --socks5-hostname localhost{run_dir}/socks.sock http://http.docker.internal:3128/"
    # One in thirty ends without an answer, inside the guest as well.
    eventually(lambda: "tinyproxy" in machine.run(fetch).stdout, f"an answer to {fetch}")
