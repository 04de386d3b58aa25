"""Forwards by hand, in the words of gvproxy and vpnkit, and what a scraper is told."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Any

import pytest

from portchain.unix_http import request

from .conftest import Host, Server, ask, connect, echo, eventually, free_port

Make = Callable[[Callable[[socket.socket], None]], Server]


def call(host: Host, method: str, path: str, body: object = None) -> tuple[int, str]:
    """Status and text of an answer."""
    status, text = request(str(host.run / "control.sock"), method, path, 5, body)
    return status, text.decode()


def place(server: Server) -> str:
    """The server's address and port."""
    return str(server.target).removeprefix("tcp:")


def test_gvproxys_expose_all_and_unexpose(host: Host, server: Make) -> None:
    port, target = free_port(), place(server(echo))
    forward = {"local": f"127.0.0.1:{port}", "remote": target, "protocol": "tcp"}
    assert call(host, "POST", "/services/forwarder/expose", forward) == (200, "")
    eventually(lambda: ask(port) == b"ping", "the forward to be served")
    assert host.control("GET", "/services/forwarder/all") == [forward]
    status, text = call(host, "POST", "/services/forwarder/expose", forward)
    assert (status, text) == (500, f"proxy already running for 127.0.0.1:{port}")
    gone = {"local": f"127.0.0.1:{port}", "protocol": "tcp"}
    assert call(host, "POST", "/services/forwarder/unexpose", gone) == (200, "")
    with pytest.raises(ConnectionRefusedError):
        connect(port)
    status, text = call(host, "POST", "/services/forwarder/unexpose", gone)
    assert status == 500
    assert text.startswith("proxy not found")


def test_vpnkits_expose_is_idempotent_and_lists_the_tuple(host: Host, server: Make) -> None:
    port, target = free_port(), place(server(echo))
    address, _, number = target.rpartition(":")
    ends = {"out_ip": "127.0.0.1", "out_port": port, "in_ip": address, "in_port": int(number)}
    forward: dict[str, Any] = {"proto": "tcp", **ends}
    for method in ("PUT", "POST"):
        assert call(host, method, "/forwards/expose/port", {**forward, "annotation": "x"}) == (200, "")
    eventually(lambda: ask(port) == b"ping", "the forward to be served")
    assert host.control("GET", "/forwards/list") == [forward]
    assert call(host, "DELETE", "/forwards/unexpose/port", forward) == (200, "")
    assert host.control("GET", "/forwards/dump") == []


def test_a_bind_failure_is_400_in_vpnkits_words(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        body = {"proto": "tcp", "out_ip": "127.0.0.1", "out_port": port, "in_ip": "127.0.0.1", "in_port": 1}
        status, text = call(host, "PUT", "/forwards/expose/port", body)
    assert status == 400
    assert f"listen tcp 127.0.0.1:{port}: bind: address already in use" in text


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/services/forwarder/expose", {"local": ":1"}, "expected address:port"),
        ("/services/forwarder/expose", [], "expected a JSON object"),
        ("/services/forwarder/expose", {"local": ":1", "colour": "blue"}, "unknown key colour"),
        ("/forwards/expose/port", {"proto": "tcp", "out_port": 70000}, "70000"),
        ("/forwards/expose/port", {"proto": "sctp", "out_port": 1, "in_port": 1}, "sctp"),
    ],
)
def test_what_cannot_be_read_is_400_by_what_is_wrong(host: Host, path: str, body: object, message: str) -> None:
    status, text = call(host, "POST", path, body)
    assert status == 400
    assert message in text


def test_by_hand_and_declared_leave_each_other_alone(host: Host, server: Make) -> None:
    by_hand, declared, target = free_port(), free_port(), server(echo).target
    host.serve((f"127.0.0.1:{declared}", str(target)))
    call(host, "POST", "/services/forwarder/expose", {"local": f"127.0.0.1:{by_hand}", "remote": place(server(echo))})
    taken = {"local": f"127.0.0.1:{declared}", "remote": "127.0.0.1:1"}
    assert call(host, "POST", "/services/forwarder/expose", taken)[0] == 500
    status, text = call(host, "POST", "/services/forwarder/unexpose", {"local": f"127.0.0.1:{declared}"})
    assert (status, "declared" in text) == (500, True)
    host.put()
    eventually(lambda: ask(by_hand) == b"ping", "the forward by hand to be served")


def test_forwards_by_hand_outlive_the_daemon(host: Host, server: Make) -> None:
    port = free_port()
    call(host, "POST", "/services/forwarder/expose", {"local": f"127.0.0.1:{port}", "remote": place(server(echo))})
    host.kill_daemon()
    host.start_daemon()
    host.wait_served()
    assert ask(port) == b"ping"


def test_metrics_count_connections_and_bytes(host: Host, server: Make) -> None:
    port = free_port()
    host.serve((f"127.0.0.1:{port}", str(server(echo).target)))
    assert ask(port) == b"ping"
    label = f'{{guest="test",listen="127.0.0.1:{port}",'

    def sample(name: str) -> int | None:
        text = call(host, "GET", "/metrics")[1]
        found = re.search(rf"^portchain_forward_{name}{re.escape(label)}.*}} (\d+)$", text, re.MULTILINE)
        return int(found[1]) if found else None

    eventually(lambda: sample("received_bytes_total") == 4, "the bytes to be counted")
    assert sample("sent_bytes_total") == 4
    assert sample("connections_total") == 1
    assert sample("up") == 1
