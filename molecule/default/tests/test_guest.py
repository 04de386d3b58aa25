"""The guest as the seed shows it from its own shell."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

COMM_LENGTH = 15


def processes(host: Host) -> dict[int, tuple[int, str]]:
    """Parent and name of each process of the guest."""
    rows = (line.split(maxsplit=2) for line in host.check_output("ps -e -o pid= -o ppid= -o comm=").splitlines())
    return {int(pid): (int(parent), name) for pid, parent, name in rows}


def ancestry(found: dict[int, tuple[int, str]], pid: int) -> list[str]:
    """Names from the first process down to ``pid``."""
    names: list[str] = []
    while pid in found:
        pid, name = found[pid]
        names.insert(0, name)
    return names


def test_host_name(host: Host, seed: dict[str, Any]) -> None:
    assert host.check_output("hostname") == seed["guest"]["hostname"]


def test_eth0_has_its_address_from_the_gateway(host: Host, seed: dict[str, Any]) -> None:
    listed = host.check_output("ip -4 -brief address show eth0").split()
    assert listed[2] == seed["guest"]["eth0"]
    assert host.check_output("ip route show default").split()[2] == seed["guest"]["host_gateway_ip"]


def test_the_first_process_is_called_init(host: Host) -> None:
    assert processes(host)[1] == (0, "init")


def test_dockerd_is_not_on_the_guests_own_path(host: Host) -> None:
    assert not host.exists("dockerd")
    assert host.run("dockerd").rc == 127


def test_process_tree(host: Host, seed: dict[str, Any]) -> None:
    found = processes(host)
    lineages = [ancestry(found, pid) for pid in found]
    for chain in seed["guest"]["process_tree"]:
        wanted = [name[:COMM_LENGTH] for name in chain]
        if wanted == ["diagnosticsd", "sh"]:
            continue  # a shell is there while someone uses it: test_ways_in.py
        assert any(lineage[-len(wanted) :] == wanted for lineage in lineages), wanted


def test_services_are_containers_without_image(host: Host, seed: dict[str, Any]) -> None:
    namespace = seed["guest"]["containerd_namespace"]
    assert host.check_output("ctr namespace ls -q") == namespace
    rows = [line.split() for line in host.check_output(f"ctr -n {namespace} container ls").splitlines()[1:]]
    assert sorted(name for name, _, _ in rows) == seed["guest"]["services"]
    assert {(image, runtime) for _, image, runtime in rows} == {("-", seed["guest"]["runtime"])}


def test_every_service_runs(host: Host, seed: dict[str, Any]) -> None:
    rows = [line.split() for line in host.check_output("ctr -n services.linuxkit task ls").splitlines()[1:]]
    assert {name: state for name, _, state in rows} == dict.fromkeys(seed["guest"]["services"], "RUNNING")


def test_limits_are_those_of_the_inventory(state: dict[str, Any]) -> None:
    limits = {"memory.limit_in_bytes": str(4 << 30), "pids.max": "4096", "cpu.cfs_quota_us": "200000"}
    limits |= {"memory.max": str(4 << 30), "cpu.max": "200000 100000"}
    files = [path for group in state["cgroups"] for path in Path(group).iterdir() if path.name in limits]
    assert {"memory", "pids", "cpu"} == {path.name.partition(".")[0] for path in files}
    assert {path.name: path.read_text().strip() for path in files} == {p.name: limits[p.name] for p in files}


def test_dockerd_has_the_seeds_flags(host: Host, seed: dict[str, Any]) -> None:
    lines = [
        line for line in host.check_output("ps -e -o args=").splitlines() if line.startswith("/usr/local/bin/dockerd ")
    ]
    assert len(lines) == 1
    for flag in seed["guest"]["dockerd_flags"]:
        assert flag in lines[0]


def test_the_engine_is_the_one_that_was_asked_for(
    in_engine: Callable[[str], str], versions: dict[str, str], engine: Any
) -> None:
    for part, program in (("docker", "dockerd"), ("containerd", "containerd"), ("runc", "runc")):
        assert f" {versions[part]}." in in_engine(f"{program} --version")
    assert engine.version()["ApiVersion"] == versions["api"]


def test_dockerd_holds_the_guests_listeners(host: Host, seed: dict[str, Any]) -> None:
    rows = [line.split() for line in host.check_output("netstat -lntp").splitlines()[2:]]
    owned = {row[3]: row[-1].partition("/")[2] for row in rows if row[-1].endswith("/dockerd")}
    assert owned == seed["guest"]["listeners_tcp"]


def test_bridges(host: Host, engine: Any, seed: dict[str, Any]) -> None:
    for name, facts in seed["guest"]["bridges"].items():
        network = engine.networks.list(names=[facts["network"]])[0]
        link = name if name == "docker0" else f"br-{network.id[:12]}"
        address = host.check_output(f"ip -4 -brief address show {link}").split()[2]
        assert address == f"{facts['gateway']}/{facts['subnet'].partition('/')[2]}"
        assert host.file(f"/sys/class/net/{link}/mtu").content_string.strip() == str(facts["mtu"])


@pytest.mark.parametrize(("name", "bridge"), [("nginx", "docker0"), ("minikube", "br-")])
def test_each_container_hangs_on_its_bridge_by_a_veth_pair(host: Host, engine: Any, name: str, bridge: str) -> None:
    status, output = engine.containers.get(name).exec_run("cat /sys/class/net/eth0/iflink")
    assert status == 0
    link = next(
        line
        for line in host.check_output("ip -oneline link show type veth").splitlines()
        if line.startswith(f"{int(output)}: ")
    )
    assert re.search(rf" master {bridge}\S* state UP", link)


def test_dnat_rules(in_engine: Callable[[str], str], seed: dict[str, Any]) -> None:
    rules = set()
    for line in in_engine("iptables -t nat -S DOCKER").splitlines():
        found = re.search(r"-A DOCKER (?:-d (\S+)/32 )?.*--dport (\d+) -j DNAT --to-destination (\S+)", line)
        if found:
            rules.add((f"{found[1] or '0.0.0.0/0'} dpt:{found[2]}", found[3]))
    assert rules == {(rule["match"], rule["to"]) for rule in seed["guest"]["dnat"]}
