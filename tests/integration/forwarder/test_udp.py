"""Datagrams: clients on the host, a server in the guest's place."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable

import pytest

from support.host_ports import free_port
from support.waiting import eventually

from .conftest import DEADLINE, Answer, Host, UdpServer

LARGEST = 65507

Make = Callable[[Answer], UdpServer]


def same(data: bytes) -> bytes:
    return data


def client(port: int, address: str = "127.0.0.1") -> socket.socket:
    """A connected client: it takes answers from the address it spoke to, and no other."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(DEADLINE)
    sock.connect((address, port))
    return sock


def ask(sock: socket.socket, data: bytes) -> bytes:
    sock.send(data)
    return sock.recv(70_000)


def row(host: Host) -> dict[str, int]:
    found: dict[str, int] = host.declared()[0]
    return found


def test_every_size_goes_both_ways_and_is_counted(host: Host, serve: Make) -> None:
    port = free_port()
    host.serve((f"udp:127.0.0.1:{port}", serve(same).target))
    sizes = [0, 1, 2, 511, 512, 1472, 1473, 9000, 65000, LARGEST - 1, LARGEST]
    with client(port) as sock:
        for size in sizes:
            data = os.urandom(size)
            assert ask(sock, data) == data, size

    def counted() -> bool:
        now = row(host)
        found = (now["connections"], now["active"], now["received"], now["sent"], now["dropped"])
        return found == (1, 1, sum(sizes), sum(sizes), 0)

    eventually(counted, "the counters")


@pytest.mark.parametrize(
    ("listen", "addresses", "refused"),
    [
        ("", ["127.0.0.1", "127.0.0.5", "::1"], []),
        ("0.0.0.0", ["127.0.0.1", "127.0.0.5"], ["::1"]),
        ("[::]", ["::1"], ["127.0.0.1"]),
        ("127.0.0.5", ["127.0.0.5"], ["127.0.0.1", "::1"]),
        ("[::1]", ["::1"], ["127.0.0.1"]),
    ],
)
def test_the_answer_comes_from_the_address_that_was_spoken_to(
    host: Host, serve: Make, listen: str, addresses: list[str], refused: list[str]
) -> None:
    port = free_port()
    host.serve((f"udp:{listen}:{port}", serve(same).target))
    for address in addresses:
        with client(port, address) as sock:
            assert ask(sock, address.encode()) == address.encode()
    for address in refused:
        with client(port, address) as sock, pytest.raises(ConnectionRefusedError):
            ask(sock, b"x")


def test_a_hundred_clients_one_of_them_stalled(host: Host, serve: Make) -> None:
    port = free_port()
    server = serve(same)
    host.serve((f"udp:127.0.0.1:{port}", server.target))
    with contextlib.ExitStack() as stack:
        stalled, *clients = [stack.enter_context(client(port)) for _ in range(100)]
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        for _ in range(200):
            stalled.send(b"s" * 1000)
        for turn in range(5):
            for number, sock in enumerate(clients):
                sock.send(b"%d %d" % (turn, number))
            for number, sock in enumerate(clients):
                assert sock.recv(100) == b"%d %d" % (turn, number)
        assert len(set(server.peers)) == 100, "each client is one to the target"
        eventually(lambda: row(host)["active"] == 100, "the clients to be counted")


def test_nobody_hears_what_it_did_not_ask_for(host: Host, serve: Make) -> None:
    port = free_port()
    host.serve((f"udp:127.0.0.1:{port}", serve(lambda data: data if data == b"yes" else None).target))
    with client(port) as one, client(port) as other:
        other.send(b"no")
        assert ask(one, b"yes") == b"yes"
        other.settimeout(0.1)
        with pytest.raises(TimeoutError):
            other.recv(1)


def test_the_target_may_speak_many_times_and_late(host: Host) -> None:
    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.settimeout(DEADLINE)
        server.bind(("127.0.0.1", 0))
        host.serve((f"udp:127.0.0.1:{port}", f"udp:127.0.0.1:{server.getsockname()[1]}"))
        with client(port) as sock:
            sock.send(b"subscribe")
            _, peer = server.recvfrom(100)
            for number in range(20):
                server.sendto(b"%d" % number, peer)
            assert [sock.recv(10) for _ in range(20)] == [b"%d" % number for number in range(20)]


def test_a_dead_target_is_named_and_comes_back(host: Host) -> None:
    port, target = free_port(), free_port()
    host.serve((f"udp:127.0.0.1:{port}", f"udp:127.0.0.1:{target}"))
    with client(port) as sock:
        for _ in range(20):
            sock.send(b"x")
            time.sleep(0.002)
        wanted = f"guest: sending to udp:127.0.0.1:{target}: Connection refused"
        eventually(lambda: host.declared()[0]["error"] == wanted, "the refusal to be named")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.settimeout(DEADLINE)
            server.bind(("127.0.0.1", target))
            sock.send(b"after")
            assert server.recv(100) == b"after", "the first datagram after a refusal is not lost"


def test_lost_datagrams_are_nobodys_concern(host: Host, serve: Make) -> None:
    port, seen = free_port(), iter(range(10_000))
    host.serve((f"udp:127.0.0.1:{port}", serve(lambda data: data if next(seen) % 2 else None).target))
    with client(port) as sock:
        for number in range(200):
            sock.send(b"%d" % number)
            if number % 2:
                assert sock.recv(10) == b"%d" % number


def test_a_burst_is_held(host: Host) -> None:
    port, count = free_port(), 300
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.settimeout(DEADLINE)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)
        server.bind(("127.0.0.1", 0))
        host.serve((f"udp:127.0.0.1:{port}", f"udp:127.0.0.1:{server.getsockname()[1]}"))
        with client(port) as sock:
            for number in range(count):
                sock.send(b"%d" % number)
            assert [server.recv(10) for _ in range(count)] == [b"%d" % number for number in range(count)]
    assert row(host)["dropped"] == 0


def test_datagrams_wait_for_the_guest(idle_host: Host, serve: Make) -> None:
    port = free_port()
    idle_host.start_daemon()
    idle_host.put((f"udp::{port}", serve(same).target))
    with client(port) as sock:
        sock.send(b"early")
        idle_host.start_guest()
        assert sock.recv(10) == b"early"
        idle_host.kill_guest()
        eventually(lambda: not idle_host.connected(), "the guest to be missed")
        idle_host.start_guest()
        idle_host.wait_served()
        assert ask(sock, b"again") == b"again"


def test_the_forwarder_may_be_killed(host: Host, serve: Make) -> None:
    port = free_port()
    host.serve((f"udp::{port}", serve(same).target))
    with client(port) as sock:
        assert ask(sock, b"before") == b"before"
        host.kill_daemon()
        host.start_daemon()
        host.wait_served()
        assert ask(sock, b"after") == b"after"


def test_removal_frees_the_port_and_another_target_gets_the_next(host: Host, serve: Make) -> None:
    port = free_port()
    host.serve((f"udp:127.0.0.1:{port}", serve(lambda _: b"one").target))
    with client(port) as sock:
        assert ask(sock, b"x") == b"one"
        host.serve((f"udp:127.0.0.1:{port}", serve(lambda _: b"two").target))
        assert ask(sock, b"x") == b"two"
        host.put()
        with pytest.raises(ConnectionRefusedError):
            ask(sock, b"x")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", port))


def test_tcp_and_udp_share_a_number(host: Host, serve: Make) -> None:
    port = free_port()
    host.serve((f"udp:127.0.0.1:{port}", serve(same).target), (f"127.0.0.1:{port}", "127.0.0.1:1"))
    with client(port) as sock:
        assert ask(sock, b"x") == b"x"


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::"])
def test_a_port_in_use_is_told_in_dockers_words(host: Host, address: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind((address, 0))
        port = held.getsockname()[1]
        shown = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        with pytest.raises(Exception) as refusal:
            host.put((f"udp:{shown}", "udp:127.0.0.1:1"))
    message = refusal.value.args[1]
    assert message.startswith(
        f"Ports are not available: exposing port UDP {shown} -> 0.0.0.0:0: listen udp {shown}: "
        "bind: address already in use: "
    )
    assert message.endswith(f"(pid {os.getpid()}) listens there on the host")
