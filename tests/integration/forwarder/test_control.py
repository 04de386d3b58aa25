"""Declaring forwards: all or nothing, and what stands in the way is named."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from http import HTTPStatus

import pytest

from support.host_ports import free_port
from support.waiting import eventually

from .conftest import Host, RefusedError, Server, ask, connect, echo

Make = Callable[[Callable[[socket.socket], None]], Server]


def test_port_in_use_changes_nothing_and_names_the_holder(host: Host, server: Make) -> None:
    kept, fresh = free_port(), free_port()
    target = server(echo).target
    host.serve((f"127.0.0.1:{kept}", target))
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(RefusedError) as refusal:
            host.put((f"127.0.0.1:{fresh}", target), (f"0.0.0.0:{port}", target))
    wording = (
        f"Ports are not available: exposing port TCP 0.0.0.0:{port} -> 0.0.0.0:0: "
        f"listen tcp 0.0.0.0:{port}: bind: address already in use: "
    )
    status, message = refusal.value.args
    assert status == HTTPStatus.CONFLICT
    assert message.startswith(wording)
    assert message.endswith(f"(pid {os.getpid()}) listens there on the host")
    assert ask(kept) == b"ping"
    with pytest.raises(ConnectionRefusedError):
        connect(fresh)


def test_a_listener_makes_way_and_comes_back_when_the_change_fails(host: Host, server: Make) -> None:
    port = free_port()
    target = server(echo).target
    host.serve((f"127.0.0.1:{port}", target))
    with socket.create_server(("127.0.0.1", 0)) as held, pytest.raises(RefusedError, match="already in use"):
        host.put((f":{port}", target), (f"127.0.0.1:{held.getsockname()[1]}", target))
    host.wait_served()
    assert ask(port) == b"ping"
    host.serve((f":{port}", target))
    assert [f["listen"] for f in host.declared()] == [f":{port}"]
    assert ask(port) == b"ping"


def test_another_target_keeps_the_listener(host: Host, server: Make) -> None:
    port = free_port()
    host.serve((f"127.0.0.1:{port}", server(lambda c: c.sendall(b"one")).target))
    host.put((f"127.0.0.1:{port}", server(lambda c: c.sendall(b"two")).target))
    with connect(port) as client:
        assert client.recv(3, socket.MSG_WAITALL) == b"two"


def test_removal_ends_connections_and_frees_the_port(host: Host, server: Make) -> None:
    port = free_port()
    host.serve((f"127.0.0.1:{port}", server(echo).target))
    with connect(port) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        host.put()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with socket.create_server(("127.0.0.1", port)):
        pass


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[" * 50_000, "nested too deeply"),
        (b"{}", "expected a list"),
        (b'[{"listen": ":80"}]', "forwards[0]: target is missing"),
        (b'[{"listen": ":0", "target": "127.0.0.1:1"}]', "port from 1 to 65535"),
        (
            b'[{"listen": "unix:/etc/x", "target": "127.0.0.1:1"}]',
            "/etc/x: a unix socket is listened on directly inside",
        ),
        (b'[{"listen": ":1", "target": "127.0.0.1:1"}, {"listen": "[::]:1", "target": "127.0.0.1:1"}]', "both"),
    ],
)
def test_bad_requests_are_refused(host: Host, body: bytes, message: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(host.run / "control.sock"))
        client.sendall(b"PUT /forwards HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        client.shutdown(socket.SHUT_WR)
        head, _, answer = client.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert message in json.loads(answer)["message"]


def test_garbage_on_the_control_socket_does_no_harm(host: Host) -> None:
    for garbage in (b"\0" * 100_000, b"GET\r\n\r\n", b"PUT /forwards HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(host.run / "control.sock"))
            try:
                client.sendall(garbage)
                client.recv(100)
            except OSError:
                pass
    assert host.control("GET", "/status")["guest"] == "test"


def test_sockets_belong_to_the_owner_alone(host: Host) -> None:
    for path in (*host.run.glob("*.sock"), host.channel):
        assert oct(path.stat().st_mode & 0o777) == "0o600", path
    assert {p.name for p in host.run.glob("*.sock")} >= {"control.sock", "docker.sock", "debug-shell.sock", "ssh.sock"}


def test_end_removes_the_sockets(host: Host, server: Make) -> None:
    port = free_port()
    host.serve((f"127.0.0.1:{port}", server(echo).target))
    assert host.stop_daemon() == 0
    assert {p.name for p in host.run.rglob("*") if p.is_socket()} == {"relay.sock", "forwarder.sock"}, "the relay's own"
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_damaged_state_is_set_aside(idle_host: Host) -> None:
    idle_host.state.mkdir(exist_ok=True)
    (idle_host.state / "forwards.json").write_text("{")
    idle_host.start_daemon()
    assert idle_host.declared() == []
    assert (idle_host.state / "forwards.broken").read_text() == "{"


def test_kept_forward_whose_port_is_taken_returns_when_it_is_free(idle_host: Host, server: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        idle_host.state.mkdir(exist_ok=True)
        forwards = [{"listen": f"127.0.0.1:{port}", "target": server(echo).target}]
        (idle_host.state / "forwards.json").write_text(json.dumps({"declared": forwards}))
        idle_host.start_daemon()
        idle_host.start_guest()
        (forward,) = idle_host.declared()
        assert forward["state"] == "failed"
        assert "address already in use" in forward["error"]
    eventually(lambda: idle_host.declared()[0]["state"] == "listening", "the forward")
    assert ask(port) == b"ping"
