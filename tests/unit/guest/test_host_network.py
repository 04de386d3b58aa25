from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from portchain.guest.services import host_network
from portchain.guest.services.engine_config import ConfigFiles
from portchain.guest.services.engine_processes import Engine
from portchain.guest.services.host_network import HostNetwork, Listener, container_of, listeners, parse_dump
from portchain.guest.services.http_service import Request, RequestError
from portchain.guest.services.lifecycle_server import Api, Lifecycle

ONE, OTHER = "1" * 64, "2f" * 32


def opened(family: int, kind: int, address: str, v6only: int | None = None) -> socket.socket:
    sock = socket.socket(family, kind)
    if v6only is not None:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
    sock.bind((address, 0))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


CASES = [
    ("tcp", socket.AF_INET, "127.0.0.1", None, "127.0.0.1"),
    ("tcp", socket.AF_INET6, "::1", None, "::1"),
    ("tcp", socket.AF_INET6, "::ffff:127.0.0.1", 0, "127.0.0.1"),
    ("udp", socket.AF_INET, "127.0.0.2", None, "127.0.0.2"),
    ("udp", socket.AF_INET6, "::1", 1, "::1"),
]


@pytest.mark.parametrize(("protocol", "family", "address", "v6only", "seen"), CASES)
def test_a_listener_is_seen_as_it_was_bound(
    protocol: str, family: int, address: str, v6only: int | None, seen: str
) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with opened(family, kind, address, v6only) as sock:
        expected = Listener(protocol, seen, sock.getsockname()[1], os.fstat(sock.fileno()).st_ino)
        assert expected in listeners()
    assert expected not in listeners()


def test_what_is_connected_is_no_listener() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(opened(socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1"))
        client = stack.enter_context(socket.create_connection(server.getsockname()))
        datagrams = stack.enter_context(opened(socket.AF_INET, socket.SOCK_DGRAM, "127.0.0.1"))
        datagrams.connect(server.getsockname())
        inodes = {listener.inode for listener in listeners()}
        assert os.fstat(server.fileno()).st_ino in inodes
        assert not {os.fstat(sock.fileno()).st_ino for sock in (client, datagrams)} & inodes


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 0, 0) + body


def wildcard(v6only: int, interface: int = 0) -> bytes:
    place = struct.pack("!HH", 80, 0) + bytes(32) + struct.pack("=I", interface) + bytes(24)
    shutdown, only = struct.pack("=HHB3x", 5, 8, 0), struct.pack("=HHB3x", 5, 11, v6only)
    return bytes([socket.AF_INET6, 10, 0, 0]) + place + struct.pack("=I", 7) + shutdown + only


def test_the_wildcard_of_both_families_is_told_from_that_of_ipv6() -> None:
    data = message(20, wildcard(0)) + message(20, wildcard(1)) + message(20, wildcard(0, interface=3))
    both = [Listener("tcp", "", 80, 7), Listener("tcp", "::", 80, 7)]
    assert parse_dump("tcp", data) == (both, False)
    assert parse_dump("tcp", data + message(3, bytes(4))) == (both, True)


def test_a_kernel_that_cannot_list_is_an_error_that_says_so() -> None:
    with pytest.raises(OSError, match="guest: the kernel does not list udp sockets: No such file"):
        parse_dump("udp", message(2, struct.pack("=i", -2) + bytes(16)))


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


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> list[Listener]:
    found: list[Listener] = []
    monkeypatch.setattr(host_network, "listeners", lambda: found)
    return found


def row(port: int, container: str) -> dict[str, object]:
    return {"protocol": "tcp", "address": "", "port": port, "container": container}


def test_listeners_belong_to_the_container_of_their_process(proc: Proc, there: list[Listener]) -> None:
    proc.process("5", f"0::/docker/{ONE}\n", "own", [10, 11])
    proc.process("6", f"0::/docker/{OTHER}\n", "other", [12])
    proc.process("7", "0::/services/docker\n", "own", [13])
    there += [Listener("tcp", "", port, inode) for port, inode in ((80, 10), (80, 11), (82, 12), (83, 13))]
    assert HostNetwork(proc.path).rows() == [row(80, ONE)]


def test_processes_are_looked_through_for_new_listeners_only(proc: Proc, there: list[Listener]) -> None:
    proc.process("5", f"0::/docker/{ONE}\n", "own", [10])
    network = HostNetwork(proc.path)
    there.append(Listener("tcp", "", 80, 10))
    assert network.rows() == [row(80, ONE)]
    (proc.path / "5/cgroup").write_text(f"0::/docker/{OTHER}\n")
    assert network.rows() == [row(80, ONE)]
    there.clear()
    assert network.rows() == []
    there.append(Listener("tcp", "", 80, 10))
    assert network.rows() == [row(80, OTHER)]


def test_a_server_that_changes_its_process_is_found_in_the_end(proc: Proc, there: list[Listener]) -> None:
    network = HostNetwork(proc.path)
    there.append(Listener("tcp", "", 80, 10))
    assert network.rows() == []
    proc.process("5", f"0::/docker/{ONE}\n", "own", [10])
    assert network.rows() == [row(80, ONE)]


def test_what_lifecycle_server_answers(proc: Proc, there: list[Listener], monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(HostNetwork(proc.path), Lifecycle(Engine("192.168.65.2"), ConfigFiles()))

    def ask(method: str, path: str) -> Any:
        return api.answer(Request(method, path, {}, "", iter(()))).payload

    assert b"".join(ask("GET", "/ping")) == b"OK"
    assert ask("GET", "/engine") == {"state": "stopped"}
    assert ask("GET", "/host-network/listeners") == []
    with pytest.raises(RequestError, match="lifecycle-server: no POST /ping") as refused:
        ask("POST", "/ping")
    assert refused.value.status == HTTPStatus.NOT_FOUND

    def fail() -> list[Listener]:
        raise OSError(2, "guest: the kernel does not list tcp sockets")

    monkeypatch.setattr(host_network, "listeners", fail)
    with pytest.raises(RequestError, match="does not list tcp sockets") as refused:
        ask("GET", "/host-network/listeners")
    assert refused.value.status == HTTPStatus.INTERNAL_SERVER_ERROR
