"""The module reachability, as a playbook uses it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import docker
import pytest

PROJECT = Path(__file__).parents[3]
SEED = {
    "port": 8080,
    "guest": "0.0.0.0:8080",
    "to": "172.17.0.2:8080",
    "network": "bridge",
    "bridge": "docker0",
    "container": "nginx",
}


def ask(guest: str, *options: str, **arguments: Any) -> tuple[int, dict[str, Any]]:
    """The module's exit status and what it returns, run by itself; ``shown`` is the diff."""
    command = ["ansible", "localhost", "--module-name", "reachability", "--become", *options]
    command += ["--args", json.dumps({"guest": guest, **arguments})]
    plain = {name: value for name, value in os.environ.items() if name != "ANSIBLE_FORCE_COLOR"}
    done = subprocess.run(command, cwd=PROJECT, env=plain, capture_output=True, text=True, timeout=60, check=False)
    shown, _, answer = done.stdout.partition("localhost | ")
    found: dict[str, Any] = json.loads(answer[answer.index("{") :])
    return done.returncode, {**found, "shown": shown + done.stdout[done.stdout.rindex("}") + 1 :]}


def test_the_seeds_chains_are_whole_and_as_they_were(guest_name: str) -> None:
    status, found = ask(guest_name, timeout=10, expect=[SEED])
    assert status == 0, found
    assert found["changed"] is False
    assert len(found["reached"]) == 6
    assert "tcp :8080 → 0.0.0.0:8080 → 172.17.0.2:8080 → bridge → nginx" in found["reached"]
    assert [hop["kind"] for hop in found["chains"][0]["hops"]][-1] == "container-socket"


def test_a_chain_that_leads_elsewhere_is_a_failure(guest_name: str) -> None:
    status, found = ask(guest_name, timeout=0, expect=[{**SEED, "container": "minikube"}])
    assert status != 0
    assert "tcp :8080: container is nginx, not minikube" in found["msg"]


def test_a_broken_chain_is_a_failure_with_hop_and_remedy(guest_name: str) -> None:
    status, found = ask(guest_name, timeout=0, ports=["9"])
    assert status != 0
    assert "tcp :9 is broken at forward: no container publishes port 9" in found["msg"]
    assert "to do: docker run -p 9:9" in found["msg"]


@pytest.mark.parametrize("options", [("--check", "--diff"), ("--diff",)])
def test_a_changed_chain_is_a_change_that_is_shown(options: tuple[str, ...], guest_name: str) -> None:
    kept = Path("/var/lib/portchain") / guest_name / "chains.txt"
    text = kept.read_text()
    kept.write_text(text.replace("172.17.0.2", "172.17.0.9"))
    status, found = ask(guest_name, *options, timeout=10)
    assert status == 0
    assert found["changed"] is True
    assert "172.17.0.9" in found["shown"]
    assert (kept.read_text() == text) == ("--check" not in options)
    kept.write_text(text)


def verify(inventory: str, **variables: Any) -> tuple[int, str]:
    """The exit status of the stage that verifies the chains, and what it printed."""
    command = ["ansible-playbook", "--inventory", inventory, "playbooks/verify.yml"]
    command += ["--extra-vars", json.dumps({"reachability_timeout": 10, **variables})]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_publication_of_the_inventory_without_its_container_fails_the_stage(
    guest_name: str, engine: docker.DockerClient, pytestconfig: pytest.Config
) -> None:
    inventory = str(pytestconfig.getoption("--ansible-inventory"))
    for name, missing in (
        ("nginx", "nothing is forwarded from tcp port 8080, which is to lead to tcp port 8080 of container nginx"),
        ("minikube", "nothing is forwarded to tcp port 2376 of container minikube"),
    ):
        container = engine.containers.get(name)
        container.stop(timeout=0)
        try:
            status, said = verify(inventory, reachability_timeout=0)
        finally:
            container.start()
        assert (status != 0, missing in said) == (True, True), said
    status, said = verify(inventory, reachability_timeout=60)
    assert (status, " changed=0 " in said) == (0, True), said


def test_a_forward_of_the_inventory_that_is_not_declared_fails_the_stage(pytestconfig: pytest.Config) -> None:
    inventory = str(pytestconfig.getoption("--ansible-inventory"))
    forwards = [{"listen": "127.0.0.1:18083", "target": "127.0.0.1:8080"}]
    status, said = verify(inventory, host_forwarder_forwards=forwards, reachability_timeout=0)
    assert status != 0
    assert "nothing is forwarded from tcp port 18083, which is to lead to 127.0.0.1:8080 in the guest" in said
