"""The host's side: who listens, what is not there, whose the sockets are."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

from testinfra.host import Host

SOCKETS = (
    *("control.sock", "debug-shell.sock", "devenv-service.sock", "diagnostics.sock", "docker.sock", "engine.sock"),
    *("evidence.sock", "lifecycle-server.sock", "ssh.sock", "trim-after-delete.sock"),
    "volume-contents.sock",
)


def test_one_forwarder_listens_on_the_six_ports(machine: Host, seed: dict[str, Any], guest_name: str) -> None:
    owners = {}
    for line in machine.check_output("ss -Hlntp").splitlines():
        fields = line.split()
        address, _, port = fields[3].rpartition(":")
        if int(port) in seed["host"]["listeners_tcp"]:
            owners[int(port)] = (address, {int(pid) for pid in re.findall(r"pid=(\d+)", fields[-1])})
    assert set(owners) == set(seed["host"]["listeners_tcp"])
    assert {address for address, _ in owners.values()} == {"*"}
    forwarders = set.intersection(*(pids for _, pids in owners.values()))
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in forwarders]
    on_the_host = [c for c in commands if b"portchain.host\0" in c and guest_name.encode() in c]
    assert len(on_the_host) == 1


def test_no_interface_of_dockers_is_on_the_host(machine: Host) -> None:
    links = machine.check_output("ip -brief link").splitlines()
    assert not [line for line in links if re.match(r"docker0|br-|veth|guest0|uplink", line)]


def test_nothing_of_ours_is_in_the_hosts_packet_filter(machine: Host) -> None:
    rules = machine.run("iptables-save").stdout
    assert "DOCKER" not in rules
    assert "192.168.6" not in rules


def test_sockets_belong_to_the_user_who_runs_the_guest(run_dir: Path) -> None:
    for name in SOCKETS:
        found = (run_dir / name).stat()
        assert stat.S_ISSOCK(found.st_mode), name
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o600, 0), name
