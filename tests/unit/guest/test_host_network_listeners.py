from __future__ import annotations

import socket
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from portchain.guest.host_network_listeners import HostNetworkListeners, container_of
from portchain.guest.services.docker.engine_config import ConfigFiles
from portchain.guest.services.docker.engine_processes import EngineProcesses
from portchain.guest.services.docker.lifecycle_server import Lifecycle, LifecycleApi
from portchain.http.server import RequestError, ServiceRequest
from portchain.ports.forward import Endpoint

ONE, OTHER = "1" * 64, "2f" * 32


@pytest.mark.parametrize(
    ("cgroups", "owner"),
    [
        (f"9:name=systemd:/docker/{ONE}\n0::/docker/{ONE}\n", ONE),
        (f"0::/docker/{ONE}/system.slice/docker/{OTHER}\n", ONE),
        (f"0::/system.slice/docker-{OTHER}.scope\n", OTHER),
        (f"0::/buildkit/{ONE}\n", None),
        ("0::/services/docker\n", None),
        ("0::/docker/abc\n", None),
    ],
)
def test_the_container_is_told_by_the_control_group(cgroups: str, owner: str | None) -> None:
    assert container_of(cgroups) == owner


class Proc:
    """A folder like /proc."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for network in ("own", "other"):
            (path / network).touch()
        self.process("self", "", "own", [])

    def process(self, pid: str, cgroups: str, network: str, inodes: list[int]) -> None:
        folder = self.path / pid
        (folder / "ns").mkdir(parents=True)
        (folder / "ns/net").symlink_to(self.path / network)
        (folder / "cgroup").write_text(cgroups)
        (folder / "fd").mkdir()
        for number, target in enumerate(["/dev/null", *(f"socket:[{inode}]" for inode in inodes)]):
            (folder / "fd" / str(number)).symlink_to(target)


@pytest.fixture
def proc(tmp_path: Path) -> Iterator[Proc]:
    yield Proc(tmp_path)


def row(port: int, container: str) -> dict[str, object]:
    return {"protocol": "tcp", "address": "", "port": port, "container": container}


def tcp(port: int) -> Endpoint:
    return Endpoint("tcp", "", port)


def test_listeners_belong_to_the_container_of_their_process(proc: Proc) -> None:
    proc.process("5", f"0::/docker/{ONE}\n", "own", [10, 11])
    proc.process("6", f"0::/docker/{OTHER}\n", "other", [12])
    proc.process("7", "0::/services/docker\n", "own", [13])
    sockets = {10: tcp(80), 11: tcp(80), 12: tcp(82), 13: tcp(83)}
    assert HostNetworkListeners(proc.path, lambda: sockets).rows() == [row(80, ONE)]


def test_processes_are_looked_through_for_new_listeners_only(proc: Proc) -> None:
    proc.process("5", f"0::/docker/{ONE}\n", "own", [10])
    sockets = {10: tcp(80)}
    network = HostNetworkListeners(proc.path, lambda: sockets)
    assert network.rows() == [row(80, ONE)]
    (proc.path / "5/cgroup").write_text(f"0::/docker/{OTHER}\n")
    assert network.rows() == [row(80, ONE)]
    sockets.clear()
    assert network.rows() == []
    sockets[10] = tcp(80)
    assert network.rows() == [row(80, OTHER)]


def test_a_server_that_changes_its_process_is_found_in_the_end(proc: Proc) -> None:
    network = HostNetworkListeners(proc.path, lambda: {10: tcp(80)})
    assert network.rows() == []
    proc.process("5", f"0::/docker/{ONE}\n", "own", [10])
    assert network.rows() == [row(80, ONE)]


def test_what_lifecycle_server_answers(proc: Proc) -> None:
    refusals: list[OSError] = []

    def list_sockets() -> dict[int, Endpoint]:
        if refusals:
            raise refusals[0]
        return {}

    network = HostNetworkListeners(proc.path, list_sockets)
    api = LifecycleApi(network, Lifecycle(EngineProcesses("192.168.65.2"), ConfigFiles()))

    def ask(method: str, path: str) -> Any:
        return api.answer(ServiceRequest(method, path, {}, "", iter(()))).payload

    assert b"".join(ask("GET", "/ping")) == b"OK"
    assert ask("GET", "/engine") == {"state": "stopped"}
    assert ask("GET", "/host-network/listeners") == []
    with socket.create_server(("127.0.0.1", 0)) as server:
        address, port = server.getsockname()
        assert {"protocol": "tcp", "address": address, "port": port} in ask("GET", "/listeners")
    with pytest.raises(RequestError, match="lifecycle-server: no POST /ping") as refused:
        ask("POST", "/ping")
    assert refused.value.status == HTTPStatus.NOT_FOUND
    refusals.append(OSError(2, "the kernel does not list tcp sockets"))
    with pytest.raises(RequestError, match=r"guest: .*does not list tcp sockets") as refused:
        ask("GET", "/host-network/listeners")
    assert refused.value.status == HTTPStatus.INTERNAL_SERVER_ERROR
