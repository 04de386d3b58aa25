"""Either side may be away, killed, or talk nonsense."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from portchain.protocol.lending import VERSION
from portchain.protocol.packets import Hello, encode
from support.host_ports import free_port
from support.waiting import eventually

from .conftest import DEADLINE, ENVIRONMENT, Host, Server, ask, connect, echo

Make = Callable[[Callable[[socket.socket], None]], Server]


def test_forwarder_killed_and_back(host: Host, server: Make) -> None:
    port = free_port()
    host.serve((f":{port}", server(echo).target))
    with connect(port) as client:
        client.sendall(b"before")
        assert client.recv(6, socket.MSG_WAITALL) == b"before"
        host.kill_daemon()
        client.sendall(b"without")
        assert client.recv(7, socket.MSG_WAITALL) == b"without"
        host.start_daemon()
        host.wait_served()
        client.sendall(b"after")
        assert client.recv(5, socket.MSG_WAITALL) == b"after"
        assert ask(port) == b"ping"

    def counted() -> bool:
        (forward,) = host.declared()
        return forward["active"] == 0 and forward["received"] >= len("afterping")

    eventually(counted, "the counters to go on")


def test_clients_wait_while_the_guest_is_away(host: Host, server: Make) -> None:
    port = free_port()
    host.serve((f":{port}", server(echo).target))
    host.kill_guest()
    eventually(lambda: not host.connected(), "the guest to be missed")
    with connect(port) as client:
        client.sendall(b"early")
        host.start_guest()
        assert client.recv(5, socket.MSG_WAITALL) == b"early"


def test_second_forwarder_for_a_guest_is_refused(host: Host) -> None:
    second = subprocess.run(
        host.daemon_command, env=ENVIRONMENT, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert second.returncode == 1
    assert "another forwarder of guest test is running" in second.stderr
    assert host.control("GET", "/status")["guest"] == "test"


HELLO = encode(Hello(VERSION))


@pytest.mark.parametrize(
    "packets",
    [
        [b"\xff" * 1000],
        [b"x" * 100_000],
        [b"[" * 16_000],
        [b'{"type": "hello", "version": 1}'],
        [b'{"type": "listening", "id": "x"}'],
        [HELLO, HELLO],
        [HELLO, b'{"type": "listen", "id": "x", "target": "127.0.0.1:1"}'],
        [HELLO, b'{"type": "counters", "id": "x", "connections": -1}'],
        [HELLO, b'{"type": "failed", "id": "unknown", "error": "x"}', b"nonsense"],
    ],
)
def test_garbage_from_the_guest_ends_its_connection_only(idle_host: Host, server: Make, packets: list[bytes]) -> None:
    idle_host.start_daemon()
    port = free_port()
    idle_host.put((f"127.0.0.1:{port}", server(echo).target))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as rogue:
        rogue.settimeout(DEADLINE)
        rogue.connect(str(idle_host.channel))
        try:
            for packet in packets:
                rogue.send(packet)
            while rogue.recv(65536):
                pass
        except OSError:
            pass
    idle_host.start_guest()
    idle_host.wait_served()
    assert ask(port) == b"ping"


def test_a_guest_that_connects_again_and_again_is_served_slowly(idle_host: Host) -> None:
    idle_host.start_daemon()
    with contextlib.ExitStack() as stack:
        connected = []
        for _ in range(100):
            rogue = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            rogue.setblocking(False)
            if rogue.connect_ex(str(idle_host.channel)) == 0:
                connected.append(rogue)
            time.sleep(0.01)
        greeted = sum(bool(select.select([rogue], [], [], 0)[0]) for rogue in connected)
    assert 0 < greeted <= 15


def test_descriptors_from_the_guest_do_not_stay_on_the_host(idle_host: Host) -> None:
    idle_host.start_daemon()
    pid = idle_host.control("GET", "/status")["pid"]

    def descriptors() -> int:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))

    before = descriptors()
    for _ in range(20):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as rogue:
            rogue.settimeout(DEADLINE)
            rogue.connect(str(idle_host.channel))
            socket.send_fds(rogue, [HELLO], [0] * 100)
            while rogue.recv(65536):
                pass
    eventually(lambda: descriptors() <= before, "descriptors to be as before")


def test_newer_guest_replaces_the_older(host: Host, server: Make) -> None:
    port = free_port()
    host.serve((f"127.0.0.1:{port}", server(echo).target))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as newer:
        newer.settimeout(DEADLINE)
        newer.connect(str(host.channel))
        newer.send(HELLO)
        assert b"hello" in newer.recv(65536)
    host.wait_served()
    assert ask(port) == b"ping"
