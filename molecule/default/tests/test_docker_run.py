"""The seed's two containers from nothing but docker run, as a person types it."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from test_chains import get
from testinfra.host import Host

DEADLINE = 60.0
DOCKER = Path("/var/cache/portchain/images")


@pytest.fixture(scope="module")
def run(engine: Any, run_dir: Path, seed: dict[str, Any]) -> None:
    """Both containers made anew with Debian's docker, each port of minikube published as minikube does."""
    docker = max(DOCKER.glob("docker-*/usr/bin/docker"), key=lambda path: path.stat().st_mtime)
    images = {name: engine.containers.get(name).image.tags[0] for name in ("minikube", "nginx")}
    for name in images:
        engine.containers.get(name).remove(force=True)
    node = [
        *("--hostname=minikube", "--privileged", "-t", "--security-opt=seccomp=unconfined", "--tmpfs=/tmp"),
        *("--tmpfs=/run", "--volume=minikube:/var", "--network=minikube", "--ip=192.168.49.2"),
        *("--security-opt=apparmor=unconfined", f"--mac-address={seed['containers']['minikube']['mac']}"),
        *(f"--publish=127.0.0.1::{port}" for port in seed["containers"]["minikube"]["ports"]),
    ]
    web = ["-p", "8080:8080", f"--mac-address={seed['containers']['nginx']['mac']}"]
    for name, options in (("minikube", node), ("nginx", web)):
        subprocess.run(
            [str(docker), "run", "-d", "--restart=unless-stopped", "--name", name, *options, images[name]],
            env={**os.environ, "DOCKER_HOST": f"unix://{run_dir}/docker.sock"},
            check=True,
            timeout=DEADLINE,
        )


@pytest.mark.usefixtures("run")
def test_8080_answers_at_once() -> None:
    end = time.monotonic() + DEADLINE
    while True:
        try:
            assert get(8080, "/")[0] == 200
        except ConnectionError:  # nginx itself has not opened its socket yet
            assert time.monotonic() < end
            time.sleep(0.05)
        else:
            break


@pytest.mark.usefixtures("run")
def test_the_host_has_the_seeds_ports(engine: Any, seed: dict[str, Any]) -> None:
    for name, shown in seed["host"]["docker_ps_ports"].items():
        (row,) = engine.api.containers(filters={"name": name})
        ports = {f"{p['IP']}:{p['PublicPort']}->{p['PrivatePort']}/{p['Type']}" for p in row["Ports"] if "IP" in p}
        assert ports == {text for text in shown if "->" in text}


@pytest.mark.usefixtures("run")
def test_the_guest_has_the_seeds_ports(host: Host, seed: dict[str, Any]) -> None:
    rows = [line.split() for line in host.check_output("netstat -lntp").splitlines()[2:]]
    owned = {row[3]: row[-1].partition("/")[2] for row in rows if row[-1].endswith("/dockerd")}
    assert owned == seed["guest"]["listeners_tcp"]
    rules = host.check_output("iptables -t nat -S DOCKER")
    for rule in seed["guest"]["dnat"]:
        port = rule["match"].rpartition("dpt:")[2]
        assert f"--dport {port} -j DNAT --to-destination {rule['to']}" in rules


@pytest.mark.usefixtures("run")
def test_the_node_is_reached(engine: Any) -> None:
    end = time.monotonic() + DEADLINE
    while engine.containers.get("minikube").exec_run("node-ready").exit_code:
        assert time.monotonic() < end, "the node is not ready"
        time.sleep(0.5)
    assert get(49672, "/v2/") == (200, b"{}")
