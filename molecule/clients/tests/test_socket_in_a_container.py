"""A client in a container that has the engine's socket mounted sees the host's ports, and publishes on the host."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from probing import answered, free_port, host_port

MOUNTED = {"/var/run/docker.sock": {"bind": "/var/run/docker.sock", "mode": "rw"}}


@pytest.fixture
def inside(probe: Callable[..., Any]) -> Iterator[Callable[..., str]]:
    """Runs the docker command in a container with the socket."""
    container = probe(volumes=MOUNTED)

    def run(*words: str) -> str:
        status, said = container.exec_run(["docker", *words])
        assert status == 0, said
        return str(said.decode())

    return run


def test_it_sees_the_ports_of_the_host(inside: Callable[..., str], probe: Callable[..., Any]) -> None:
    container = probe(name="seen", ports={"7000/tcp": ("127.0.0.1", None)})
    port = host_port(container)
    assert inside("port", "seen", "7000/tcp").strip() == f"127.0.0.1:{port}"
    ports = json.loads(inside("inspect", "--format", "{{json .NetworkSettings.Ports}}", "seen"))
    assert ports == container.ports
    assert f"127.0.0.1:{port}->7000/tcp" in inside("ps", "--format", "{{.Ports}}")


def test_what_it_publishes_is_on_the_host(inside: Callable[..., str], engine: Any, image: str) -> None:
    port = free_port()
    inside("run", "-d", "-p", f"{port}:7000", "-p", "7000/udp", "--name", "sibling", image)
    answered(port)
    sibling = engine.containers.get("sibling")
    assert host_port(sibling, "7000/udp") in range(49152, 65536)
    inside("rm", "-f", "sibling")


def test_it_reads_why_a_port_is_not_to_be_had(
    inside: Callable[..., str], probe: Callable[..., Any], image: str
) -> None:
    port = free_port()
    probe(ports={"7000": port}, name="holder")
    with pytest.raises(AssertionError, match="Ports are not available"):
        inside("run", "-d", "-p", f"{port}:7000", image)


def test_the_client_is_what_runs_in_the_container(inside: Callable[..., str]) -> None:
    assert inside("version", "--format", "{{.Client.Version}}").startswith("20.10")
