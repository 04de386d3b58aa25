"""The target is told who the client is, before the client's first byte."""

from __future__ import annotations

import queue
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from support.host_ports import free_port
from support.waiting import eventually

from .conftest import Host, RefusedError, Server

Make = Callable[[Callable[[socket.socket], None]], Server]
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


@dataclass(frozen=True)
class Told:
    """What a server reads from a header."""

    family: str
    source: tuple[str, int] | None = None
    destination: tuple[str, int] | None = None


def exactly(connection: socket.socket, size: int) -> bytes:
    return connection.recv(size, socket.MSG_WAITALL)


def read_v1(connection: socket.socket) -> Told:
    line = b""
    while not line.endswith(b"\r\n"):
        line += exactly(connection, 1)
        assert len(line) <= 107
    words = line.decode("ascii").split()
    assert words[0] == "PROXY"
    if words[1] == "UNKNOWN":
        return Told("UNKNOWN")
    _, family, source, destination, from_port, to_port = words
    return Told(family, (source, int(from_port)), (destination, int(to_port)))


def read_v2(connection: socket.socket) -> Told:
    assert exactly(connection, 12) == SIGNATURE
    command, kind, length = struct.unpack("!BBH", exactly(connection, 4))
    body = exactly(connection, length) if length else b""
    if command == 0x20:
        return Told("UNKNOWN")
    assert command == 0x21
    family, size = {0x11: (socket.AF_INET, 4), 0x21: (socket.AF_INET6, 16)}[kind]
    addresses = [socket.inet_ntop(family, body[at : at + size]) for at in (0, size)]
    ports = struct.unpack("!HH", body[2 * size :])
    return Told("TCP4" if size == 4 else "TCP6", (addresses[0], ports[0]), (addresses[1], ports[1]))


READERS = {"v1": read_v1, "v2": read_v2}


@pytest.fixture(params=["v1", "v2"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def told(server: Make, version: str) -> tuple[str, queue.Queue[Told]]:
    """A server's place, and what it was told; it echoes what comes after the header."""
    found: queue.Queue[Told] = queue.Queue()

    def serve(connection: socket.socket) -> None:
        found.put(READERS[version](connection))
        while data := connection.recv(65536):
            connection.sendall(data)

    return server(serve).target, found


def declare(host: Host, listen: str, target: str, version: str) -> None:
    host.control("PUT", "/forwards", [{"listen": listen, "target": target, "proxy_protocol": version}])
    host.wait_served()


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("", "::1"),
        ("[::1]", "::1"),
    ],
)
def test_the_target_reads_the_clients_own_address(
    host: Host, told: tuple[str, queue.Queue[Told]], version: str, listen: str, address: str
) -> None:
    port = free_port()
    declare(host, f"{listen}:{port}", told[0], version)
    with socket.create_connection((address, port), timeout=5) as client:
        client.sendall(b"first bytes")
        assert exactly(client, 11) == b"first bytes"
        family = "TCP6" if ":" in address else "TCP4"
        assert told[1].get(timeout=5) == Told(family, client.getsockname()[:2], (address, port))
    eventually(
        lambda: (row := host.declared()[0])["received"] == row["sent"] == 11, "the client's bytes alone to count"
    )


def test_a_client_that_waits_to_be_spoken_to_is_introduced_too(
    host: Host, told: tuple[str, queue.Queue[Told]], version: str
) -> None:
    port = free_port()
    declare(host, f"127.0.0.1:{port}", told[0], version)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        assert told[1].get(timeout=5).source == client.getsockname()


def test_a_client_of_a_unix_socket_has_no_address(
    host: Host, told: tuple[str, queue.Queue[Told]], version: str
) -> None:
    path = host.run / "app.sock"
    declare(host, f"unix:{path}", told[0], version)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(path))
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    assert told[1].get(timeout=5) == Told("UNKNOWN")


def test_another_version_is_another_forward(host: Host, server: Make) -> None:
    port, heard = free_port(), queue.Queue[bytes]()
    target = server(lambda c: heard.put(c.recv(100))).target
    for version, begins in (("", b"hello"), ("v1", b"PROXY TCP4"), ("v2", SIGNATURE)):
        declare(host, f"127.0.0.1:{port}", target, version)
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(b"hello")
            assert heard.get(timeout=5).startswith(begins)


def test_with_udp_it_is_refused(host: Host) -> None:
    with pytest.raises(RefusedError, match="the PROXY protocol is for tcp, not for udp"):
        declare(host, "udp::1", "127.0.0.1:1", "v2")
