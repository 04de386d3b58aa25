"""A client in a container that has the engine's socket mounted sees the host's ports, and publishes on the host."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.types import Mount
from probing import answered, host_port

from support.host_ports import free_port

SOCKET = "/var/run/docker.sock"
MOUNTED = {SOCKET: {"bind": SOCKET, "mode": "rw"}}


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


@pytest.fixture(params=["{}", "/var{}", "/{}", "link"])
def spelt(request: pytest.FixtureRequest, run_dir: Path, tmp_path: Path) -> Callable[[str], str]:
    """The path of a socket of the guest's on the host, as someone spells it."""

    def spell(name: str) -> str:
        if request.param != "link":
            return str(request.param.format(run_dir / name))
        (tmp_path / name).symlink_to(run_dir / name)
        return str(tmp_path / name)

    return spell


@pytest.mark.parametrize("form", ["volume", "volume for reading only", "mount"])
def test_the_path_in_docker_host_is_the_guests_own_socket(
    spelt: Callable[[str], str], form: str, probe: Callable[..., Any], run_dir: Path
) -> None:
    source = spelt("docker.sock")
    words: dict[str, Any] = {"volumes": [f"{source}:{SOCKET}:{'ro' if 'only' in form else 'rw'}"]}
    if form == "mount":
        words = {"mounts": [Mount(SOCKET, source, type="bind")]}
    container = probe(name="client", ports={"7000/tcp": ("127.0.0.1", None)}, **words)
    said = container.exec_run(["docker", "port", "client", "7000/tcp"]).output.decode()
    assert said.strip() == f"127.0.0.1:{host_port(container)}"
    if run_dir.name in source:  # as modules and compose look for it when they run again
        assert source in str([container.attrs["HostConfig"].get(key) for key in ("Binds", "Mounts")])
    container.restart(timeout=0)
    assert container.exec_run(["docker", "version"]).exit_code == 0


def test_the_path_of_the_engines_own_socket_is_that_in_the_guest(
    spelt: Callable[[str], str], probe: Callable[..., Any]
) -> None:
    container = probe(
        name="client", ports={"7000/tcp": ("127.0.0.1", None)}, volumes=[f"{spelt('engine.sock')}:{SOCKET}"]
    )
    said = container.exec_run(["docker", "port", "client", "7000/tcp"]).output.decode()
    assert said.startswith("127.0.0.1:")
    assert said.strip() != f"127.0.0.1:{host_port(container)}"


def test_it_reads_why_a_port_is_not_to_be_had(
    inside: Callable[..., str], probe: Callable[..., Any], image: str
) -> None:
    port = free_port()
    probe(ports={"7000": port}, name="holder")
    with pytest.raises(AssertionError, match="Ports are not available"):
        inside("run", "-d", "-p", f"{port}:7000", image)


def test_the_client_is_what_runs_in_the_container(inside: Callable[..., str]) -> None:
    assert inside("version", "--format", "{{.Client.Version}}").startswith("20.10")
