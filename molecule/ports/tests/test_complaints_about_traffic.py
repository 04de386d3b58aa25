"""What users of such forwarders complain about: what becomes of the bytes. A test for each theme."""

from __future__ import annotations

import os
import select
import socket
import statistics
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from probing import UDP_MOST, Guest, answered, as_root, ask, connect, datagram, family, read_all
from soak import SLACK, Report, churn

from support.host_ports import free_port, free_ports
from support.waiting import eventually

Probe = Callable[..., Any]
SERVER = Path(__file__).parents[3] / "roles/guest_image/images/probe/files/usr/bin/probe"
CYCLES = 40
MIB = 1 << 20


@pytest.fixture(scope="module")
def port(engine: Any, image: str) -> Iterator[int]:
    """The host's TCP and UDP port of a probe, which also publishes the next port, where nobody listens."""
    port, dead = free_ports(2)
    ports = {"7000/tcp": port, "7000/udp": port, "7009/tcp": dead}
    container = engine.containers.run(image, name="traffic", ports=ports, detach=True)
    answered(port)
    yield port
    container.remove(force=True)


@pytest.fixture(scope="module")
def soaked(engine: Any, guest: Guest, image: str) -> Report:
    """A short soak; the long one is a benchmark."""
    return churn(engine, guest, image, CYCLES)


def test_port_held_after_stop(soaked: Report) -> None:
    assert not soaked.held
    assert not soaked.left


def test_no_late_forward(soaked: Report) -> None:
    assert not soaked.late


def test_leaks_and_limits(soaked: Report, guest: Guest, port: int) -> None:
    for name, (memory, descriptors) in soaked.growth().items():
        assert memory < 2048, f"{name} grew by {memory} KiB in {CYCLES} cycles"
        assert abs(descriptors) <= SLACK[name], f"{name} has {descriptors:+} descriptors after {CYCLES} cycles"
    before = guest.use()["relay"]
    clients = [connect(port) for _ in range(1000)]
    for client in clients:
        client.sendall(b"echo\nx")
    assert all(client.recv(1) == b"x" for client in clients)
    for client in clients:
        client.close()

    def calm() -> bool:
        return guest.use()["relay"].descriptors <= before.descriptors + SLACK["relay"]

    eventually(calm, "the descriptors of a thousand connections back")
    assert guest.use()["relay"].memory < before.memory + 32 * 1024


@pytest.mark.parametrize("size", [1, 1400, 8192, 65000, UDP_MOST])
def test_udp_both_directions_1_to_65507(port: int, size: int) -> None:
    content = os.urandom(size)
    assert datagram(port, content) == content
    assert len(datagram(port, f"size {size}".encode())) == size


def test_udp_100_clients_one_of_them_stalled(port: int) -> None:
    stalled = udp(port)
    for _ in range(300):
        stalled.send(f"size {UDP_MOST}".encode())
        time.sleep(0.002)  # as much as a server on the host itself takes in without loss
    clients = {udp(port): os.urandom(16) for _ in range(100)}
    for round_ in range(3):
        for client, content in clients.items():
            client.send(content + bytes([round_]))
        for client, content in clients.items():
            ready, _, _ = select.select([client], [], [], 5)
            assert ready, "a client waits for another"
            assert client.recv(100) == content + bytes([round_])
    for client in (*clients, stalled):
        client.close()


def udp(port: int) -> socket.socket:
    """A client."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(("127.0.0.1", port))
    return client


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_client_address_by_proxy_protocol(probe: Probe, version: str) -> None:
    port = free_port()
    probe(ports={"7000": port}, labels={"io.portchain.proxy-protocol/7000/tcp": version})
    eventually(lambda: said_of(port), "a header")
    with connect(port) as client:
        header = bytes.fromhex(read_all(client).decode())
        address, source = client.getsockname()
    if version == "v1":
        assert header == f"PROXY TCP4 {address} {address} {source} {port}\r\n".encode()
    else:
        loopback = socket.inet_aton(address)
        assert header[:12] == b"\r\n\r\n\0\r\nQUIT\n"
        assert header[12:] == struct.pack("!BBH4s4sHH", 0x21, 0x11, 12, loopback, loopback, source, port)


def said_of(port: int) -> bytes:
    """The header that came with a connection; empty while the server is not there yet."""
    try:
        with connect(port) as client:
            return read_all(client)
    except ConnectionError:
        return b""


def test_without_proxy_protocol_nothing_is_added(port: int) -> None:
    assert ask(port, b"echo\nas it is") == b"as it is"


def test_throughput(port: int) -> None:
    """Against the same server on the host itself: the way into a container may cost, but not most of it."""
    direct = free_port()
    with subprocess.Popen(
        ["/usr/bin/python3", str(SERVER), f"tcp:127.0.0.1:{direct}"], stdout=subprocess.PIPE
    ) as server:
        answered(direct)
        rates = {where: statistics.median(rate(where) for _ in range(3)) for where in (direct, port)}
        server.kill()
    ratio = rates[port] / rates[direct]
    print(f"\n{rates[port] / 1e6:.0f} MB/s, {ratio:.2f} of the server on the host itself")
    assert ratio > 0.1


def rate(port: int, size: int = 128 * MIB) -> float:
    """Bytes a second from a probe."""
    started, buffer, got = time.monotonic(), bytearray(MIB), 0
    with connect(port) as client:
        client.sendall(f"source {size}\n".encode())
        while count := client.recv_into(buffer):
            got += count
    assert got == size
    return size / (time.monotonic() - started)


def test_half_close_and_reset(engine: Any, port: int) -> None:
    with connect(port) as client:
        client.sendall(b"count\n" + bytes(100_000))
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"100000"
    with connect(port) as client:
        client.sendall(b"early\n")
        assert read_all(client) == b""
        client.sendall(bytes(200_000))
    log = engine.containers.get("traffic").logs
    eventually(lambda: b"early 200000" in log(), "what was sent after the server's end of stream")
    with connect(port) as client:
        client.sendall(b"reset\n")
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_back_pressure_stops_the_sender(port: int, guest: Guest) -> None:
    before = guest.use()["relay"].memory
    with connect(port) as client:
        client.sendall(f"source {1024 * MIB}\n".encode())
        time.sleep(1)
        assert guest.use()["relay"].memory < before + 8 * 1024


def test_dead_port_resets(port: int) -> None:
    for _ in range(20):
        with pytest.raises(ConnectionResetError), connect(port + 1) as client:
            client.sendall(b"anyone?\n")
            end = client.recv(1)
            assert end != b"", "an orderly end from a port where nobody listens"


def test_sleep_and_wake(guest: Guest, port: int, probe: Probe) -> None:
    with connect(port) as kept:
        kept.sendall(b"echo\nbefore")
        assert kept.recv(6) == b"before"
        processes = [str(pid) for pid in family(guest.pid)]
        as_root("kill", "-STOP", *processes)
        try:
            meanwhile = connect(port)
            meanwhile.sendall(b"echo\nmeanwhile")
            kept.sendall(b"after")
            time.sleep(4)
        finally:
            as_root("kill", "-CONT", *processes)
        assert kept.recv(5, socket.MSG_WAITALL) == b"after"
        assert meanwhile.recv(9, socket.MSG_WAITALL) == b"meanwhile"
        meanwhile.close()
    fresh = free_port()
    probe(ports={"7000": fresh})
    answered(fresh)
