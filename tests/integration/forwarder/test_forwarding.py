"""A client on the host, a server in the guest, and what must reach the other side."""

from __future__ import annotations

import hashlib
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.host_ports import free_port
from support.waiting import eventually

from .conftest import Host, Server, ask, connect, echo

Make = Callable[[Callable[[socket.socket], None]], Server]


def reset_and_close(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_wildcard_is_reached_over_ipv4_and_ipv6_and_counted(host: Host, server: Make) -> None:
    port = free_port()
    host.serve((f":{port}", server(echo).target))
    assert ask(port) == b"ping"
    with socket.create_connection(("::1", port), timeout=5) as client:
        client.sendall(b"six")
        assert client.recv(3, socket.MSG_WAITALL) == b"six"

    def counted() -> bool:
        (forward,) = host.declared()
        return (forward["connections"], forward["active"], forward["received"], forward["sent"]) == (2, 0, 7, 7)

    eventually(counted, "the counters")


def test_ipv4_only(host: Host, server: Make) -> None:
    port = free_port()
    host.serve((f"0.0.0.0:{port}", server(echo).target))
    assert ask(port) == b"ping"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("::1", port), timeout=5)


def test_unix_target(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "target.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        port = free_port()
        host.serve((f"127.0.0.1:{port}", f"unix:{path}"))
        with connect(port) as client:
            client.sendall(b"ping")
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(4, socket.MSG_WAITALL) == b"ping"
                client.shutdown(socket.SHUT_WR)
                assert connection.recv(1) == b""
                connection.sendall(b"late reply")
            assert client.recv(100, socket.MSG_WAITALL) == b"late reply"


def test_client_ends_first_and_still_gets_the_reply(host: Host, server: Make) -> None:
    def reply_after_end(connection: socket.socket) -> None:
        received = b"".join(iter(lambda: connection.recv(65536), b""))
        connection.sendall(b"%d" % len(received))

    port = free_port()
    host.serve((f"127.0.0.1:{port}", server(reply_after_end).target))
    with connect(port) as client:
        client.sendall(b"x" * 300_000)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100, socket.MSG_WAITALL) == b"300000"


def test_server_ends_first_and_still_gets_the_rest(host: Host, server: Make) -> None:
    received = threading.Event()

    def end_then_read(connection: socket.socket) -> None:
        connection.sendall(b"bye")
        connection.shutdown(socket.SHUT_WR)
        if b"".join(iter(lambda: connection.recv(65536), b"")) == b"after":
            received.set()

    port = free_port()
    host.serve((f"127.0.0.1:{port}", server(end_then_read).target))
    with connect(port) as client:
        assert client.recv(100, socket.MSG_WAITALL) == b"bye"
        client.sendall(b"after")
        client.shutdown(socket.SHUT_WR)
        assert received.wait(5)


def test_reset_by_the_server_reaches_the_client(host: Host, server: Make) -> None:
    def reset(connection: socket.socket) -> None:
        connection.recv(1)
        reset_and_close(connection)

    port = free_port()
    host.serve((f"127.0.0.1:{port}", server(reset).target))
    with connect(port) as client:
        client.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_reset_by_the_client_reaches_the_server(host: Host, server: Make) -> None:
    outcome: list[type[BaseException] | None] = []

    def wait(connection: socket.socket) -> None:
        try:
            connection.recv(1)
            connection.recv(1)
            outcome.append(None)
        except OSError as error:
            outcome.append(type(error))

    port = free_port()
    host.serve((f"127.0.0.1:{port}", server(wait).target))
    client = connect(port)
    client.sendall(b"x")
    eventually(lambda: host.declared()[0]["active"] == 1, "the connection")
    reset_and_close(client)
    assert eventually(lambda: outcome, "the server to notice") == [ConnectionResetError]


def test_reset_is_seen_while_the_other_side_does_not_read(host: Host, server: Make) -> None:
    release = threading.Event()
    port = free_port()
    host.serve((f"127.0.0.1:{port}", server(lambda _: release.wait(10) and None).target))
    client = connect(port)
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        for _ in range(10_000):
            client.send(b"x" * 65536)
            time.sleep(0.0001)
    eventually(lambda: host.declared()[0]["active"] == 1, "the connection")
    reset_and_close(client)
    eventually(lambda: host.declared()[0]["active"] == 0, "the relay to give up")
    release.set()


def test_nobody_behind_the_port_is_a_reset_and_named(host: Host) -> None:
    port, nobody = free_port(), free_port()
    host.serve((f"127.0.0.1:{port}", f"127.0.0.1:{nobody}"))
    with pytest.raises(ConnectionResetError), connect(port) as client:
        client.sendall(b"x")
        client.recv(1)
    error = eventually(lambda: host.declared()[0]["error"], "the error")
    assert error == f"guest: connecting to tcp:127.0.0.1:{nobody}: Connection refused"


def test_bulk_arrives_whole(host: Host, server: Make) -> None:
    port, size = free_port(), 64 * 1024 * 1024
    block = os.urandom(1024 * 1024)
    host.serve((f"127.0.0.1:{port}", server(echo).target))
    sent, received = hashlib.sha256(), hashlib.sha256()
    with connect(port) as client:

        def write() -> None:
            for index in range(size // len(block)):
                part = block[index:] + block[:index]
                sent.update(part)
                client.sendall(part)
            client.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=write)
        writer.start()
        while data := client.recv(1024 * 1024):
            received.update(data)
        writer.join()
    assert received.digest() == sent.digest()


def test_two_hundred_at_once(host: Host, server: Make) -> None:
    port = free_port()
    host.serve((f"127.0.0.1:{port}", server(echo).target))
    with ThreadPoolExecutor(50) as pool:
        clients = list(pool.map(lambda _: connect(port), range(200)))

        def talk(index: int) -> bytes:
            message = b"%d " % index * 1000
            clients[index].sendall(message)
            return clients[index].recv(len(message), socket.MSG_WAITALL) == message

        assert all(pool.map(talk, range(200)))
    for client in clients:
        client.close()


def test_clients_wait_while_the_guest_has_no_descriptors_left(host: Host, server: Make) -> None:
    port = free_port()
    host.serve((f"127.0.0.1:{port}", server(echo).target))
    pid = host.control("GET", "/status")["channel"]["pid"]
    in_use = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (in_use + 21, in_use + 21))
    clients = [connect(port) for _ in range(30)]
    for client in clients:
        client.sendall(b"ping")
    for client in clients:
        assert client.recv(4, socket.MSG_WAITALL) == b"ping"
        client.close()
