"""The engine's life and configuration, through lifecycle-server, from the host."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from probing import answered, refused
from testinfra.host import Host

from portchain.http.blocking_client import get_json, request
from support.host_ports import free_ports
from support.waiting import eventually

Portchain = Callable[..., Any]
# Refused when its file is read, when its networks are set up, and before it is even asked.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"nonsense": 1}, "nonsense"),
    ({"bip": "300.1.1.1/33"}, "invalid CIDR address: 300.1.1.1/33"),
    ({"hosts": []}, "hosts: fixed by the guest"),
]


@pytest.fixture
def configured(portchain: Portchain) -> Iterator[Callable[..., Any]]:
    """Runs portchain engine config with what it is given; what was there before is put back."""
    before = own(portchain)
    yield lambda words, **more: portchain("engine", "config", "-", input=json.dumps(words).encode(), **more)
    portchain("engine", "config", "-", input=json.dumps(before).encode())


def own(portchain: Portchain) -> Any:
    return json.loads(portchain("engine", "config").stdout)["own"]


def restarts(portchain: Portchain) -> int:
    """How often the docker service itself was restarted."""
    (guest,) = json.loads(portchain("status", "--json").stdout)
    return int(next(one["restarts"] for one in guest["services"] if one["name"] == "docker"))


@pytest.fixture
def published(engine: docker.DockerClient, image: str) -> Iterator[Callable[..., int]]:
    """Runs a container with a published port, and returns that."""
    made = []

    def run(restart: str) -> int:
        (port,) = free_ports(1)
        words: dict[str, Any] = {"restart_policy": {"Name": restart}, "stop_signal": "SIGKILL"}
        made.append(engine.containers.run(image, ports={"7000/tcp": port}, detach=True, **words))
        answered(port)
        return port

    yield run
    for container in made:
        container.remove(force=True)


def test_ports_are_right_after_a_restart_that_was_asked_for(
    portchain: Portchain, published: Callable[..., int]
) -> None:
    kept, gone = published("always"), published("no")
    before = restarts(portchain)
    portchain("engine", "restart")
    answered(kept, deadline=3)
    eventually(lambda: refused(gone), "the port of the container that was not started again", 3)
    assert restarts(portchain) == before


def test_a_stopped_engine_stays_stopped_and_comes_back(
    portchain: Portchain, run_dir: Path, engine: docker.DockerClient
) -> None:
    before = restarts(portchain)
    assert "the engine is stopped" in portchain("engine", "stop").stdout.decode()
    lifecycle = str(run_dir / "lifecycle-server.sock")
    try:
        status, body = request(str(run_dir / "docker.sock"), "GET", "/_ping", 5)
        assert (status, b"guest: the engine" in body) == (503, True), body
        assert request(lifecycle, "GET", "/ping", 5) == (200, b"OK")
        assert get_json(lifecycle, "/engine", 5) == {"state": "stopped"}
    finally:
        portchain("engine", "start")
    assert engine.ping()
    assert restarts(portchain) == before


def test_the_process_tree_stays_the_seeds(portchain: Portchain, host: Host, seed: dict[str, Any]) -> None:
    portchain("engine", "restart")
    tree = host.check_output("ps -e -o pid=,ppid=,comm=").splitlines()
    parents = {pid: (ppid, name) for pid, ppid, name in (line.split(None, 2) for line in tree)}

    def above(pid: str) -> Iterator[str]:
        while pid in parents:
            pid, name = parents[pid]
            yield name.strip()

    ends = [pid for pid, (_, name) in parents.items() if name in ("dockerd", "containerd")]
    chains = {tuple(reversed([*above(pid)][:6])) for pid in ends}
    wanted = {tuple(chain) for chain in seed["guest"]["process_tree"] if chain[0] == "docker-init"}
    assert wanted <= chains


def test_a_configuration_is_merged_and_survives_a_reboot(
    configured: Callable[..., Any], portchain: Portchain, host: Host, engine: docker.DockerClient, run_dir: Path
) -> None:
    configured({"labels": ["mine=yes"], "log-opts": {"max-size": "7m"}})
    assert engine.info()["Labels"] == ["mine=yes"]
    effective = json.loads(portchain("engine", "config").stdout)["effective"]
    assert effective["log-opts"] == {"max-file": "3", "max-size": "7m"}
    assert effective["userland-proxy"] is False

    def init() -> Any:
        return json.loads((run_dir / "state.json").read_text())["pid"]

    before = init()
    host.run("reboot")
    eventually(lambda: (run_dir / "state.json").exists() and init() != before, "another life of the guest", 20)
    eventually(lambda: answers(engine), "the engine", 20)
    assert engine.info()["Labels"] == ["mine=yes"]


def answers(engine: docker.DockerClient) -> bool:
    try:
        return bool(engine.ping())
    except (docker.errors.APIError, OSError):
        return False


def test_a_configuration_that_dockerd_refuses_is_rolled_back(
    configured: Callable[..., Any], portchain: Portchain, published: Callable[..., int]
) -> None:
    configured({"labels": ["kept=yes"]})
    port = published("always")
    before = restarts(portchain)
    for words, reason in REFUSED:
        complaint = configured(words, status=1).stderr.decode()
        assert "guest: dockerd goes on with what it had" in complaint
        assert reason in complaint
        found = json.loads(portchain("engine", "config").stdout)
        assert (found["own"], found["effective"]["labels"]) == ({"labels": ["kept=yes"]}, ["kept=yes"])
        answered(port, deadline=3)
    assert restarts(portchain) == before
