"""A relay that ends hands its connections on to the one that follows; one that is killed does not."""

from __future__ import annotations

import hashlib
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.host_ports import free_port
from support.waiting import eventually

from .conftest import Answer, Host, Server, UdpServer, ask, connect, echo

Make = Callable[[Callable[[socket.socket], None]], Server]
Serve = Callable[[Answer], UdpServer]
BLOB = random.Random(1).randbytes(24 << 20)


def restart(host: Host) -> None:
    assert host.stop_relay() == 0
    host.start_relay()
    eventually(host.connected, "the guest to be there again")


def test_connections_go_on_whatever_they_hold(host: Host, server: Make) -> None:
    port, bulk_port = free_port(), free_port()

    def send_blob(connection: socket.socket) -> None:
        connection.sendall(BLOB)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b"thanks"

    host.serve((f":{port}", server(echo).target), (f":{bulk_port}", server(send_blob).target))
    with connect(port) as client, connect(bulk_port) as slow:
        client.sendall(b"before")
        assert client.recv(6, socket.MSG_WAITALL) == b"before"
        digest, size = hashlib.sha256(), 0
        for _ in range(4):
            data = slow.recv(100_000)
            digest.update(data)
            size += len(data)
        time.sleep(0.2)  # until all buffers on the way are full
        restart(host)
        client.sendall(b"after")
        assert client.recv(5, socket.MSG_WAITALL) == b"after"
        restart(host)
        while data := slow.recv(1 << 20):
            digest.update(data)
            size += len(data)
        assert (size, digest.digest()) == (len(BLOB), hashlib.sha256(BLOB).digest())
        restart(host)
        slow.sendall(b"thanks")
        client.sendall(b"last")
        assert client.recv(4, socket.MSG_WAITALL) == b"last"
        assert ask(port) == b"ping"
    eventually(lambda: all(forward["active"] == 0 for forward in host.declared()), "no connection to be left")


def test_the_end_of_one_side_is_remembered(host: Host, server: Make) -> None:
    port = free_port()

    def answer_after_the_end(connection: socket.socket) -> None:
        data = b""
        while more := connection.recv(100):
            data += more
        time.sleep(1.0)
        connection.sendall(data * 2)

    host.serve((f":{port}", server(answer_after_the_end).target))
    with connect(port) as client:
        client.sendall(b"all ")
        client.shutdown(socket.SHUT_WR)
        time.sleep(0.2)
        restart(host)
        assert client.recv(100, socket.MSG_WAITALL) == b"all all "


def test_a_client_of_udp_keeps_its_source(host: Host, serve: Serve) -> None:
    port, server = free_port(), serve(lambda data: data.upper())
    host.serve((f"udp:127.0.0.1:{port}", server.target))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", port))
        client.send(b"before")
        assert client.recv(10) == b"BEFORE"
        restart(host)
        client.send(b"after")
        assert client.recv(10) == b"AFTER"
    assert len(set(server.peers)) == 1


def test_connections_of_a_forward_that_went_meanwhile_end(host: Host, server: Make) -> None:
    port = free_port()
    host.serve((f":{port}", server(echo).target))
    with connect(port) as client:
        assert ask(port) == b"ping"
        assert host.stop_relay() == 0
        host.put()
        host.start_relay()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_thousand_connections_are_handed_on(host: Host, server: Make) -> None:
    port = free_port()
    host.serve((f":{port}", server(echo).target))
    clients = [connect(port) for _ in range(1000)]
    for client in clients:
        client.sendall(b"one")
    for client in clients:
        assert client.recv(3, socket.MSG_WAITALL) == b"one"
    restart(host)
    for client in clients:
        client.sendall(b"two")
    for client in clients:
        assert client.recv(3, socket.MSG_WAITALL) == b"two"
        client.close()


def test_connections_of_a_killed_relay_end_and_its_ports_are_served_again(host: Host, server: Make) -> None:
    port = free_port()
    host.serve((f":{port}", server(echo).target))
    with connect(port) as client:
        assert ask(port) == b"ping"
        host.kill_relay()
        assert client.recv(1) == b""
        host.start_relay()
        assert ask(port) == b"ping"


def test_nothing_of_a_relay_stays_in_the_forwarder(host: Host, server: Make) -> None:
    port = free_port()
    host.serve((f":{port}", server(echo).target))
    pid = host.control("GET", "/status")["pid"]

    def descriptors() -> int:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))

    before = descriptors()
    for _ in range(5):
        with connect(port) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            restart(host)
            client.sendall(b"y")
            assert client.recv(1) == b"y"
    eventually(lambda: descriptors() <= before, "descriptors to be as before")
