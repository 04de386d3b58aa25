"""Forwards by hand, in the words of gvproxy and vpnkit, and what a scraper is told."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portchain.host.forwarder.declare import bound_forwards, expose, list_forwards, unexpose
from portchain.http.blocking_client import request
from portchain.ports.forward import Forward
from support.host_ports import free_port
from support.waiting import eventually

from .conftest import Host, RefusedError, Server, ask, connect, echo

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
    holder = f"127.0.0.1:{port} is forwarded to {target} (manual)"
    assert (status, text) == (500, f"proxy already running for 127.0.0.1:{port}: {holder}")
    gone = {"local": f"127.0.0.1:{port}", "protocol": "tcp"}
    assert call(host, "POST", "/services/forwarder/unexpose", gone) == (200, "")
    with pytest.raises(ConnectionRefusedError):
        connect(port)
    status, text = call(host, "POST", "/services/forwarder/unexpose", gone)
    assert status == 500
    assert text.startswith("proxy not found")


@pytest.mark.parametrize(
    ("local", "gone"),
    [
        ("127.0.0.1", {"local": "127.0.0.1:{port}", "remote": "127.0.0.1:1", "protocol": "tcp"}),
        ("127.0.0.1", {"LOCAL": "127.0.0.1:{port}", "Protocol": "tcp", "colour": "blue"}),
        ("127.0.0.1", {"local": "127.0.0.1:{port}", "protocol": None}),
        ("localhost", {"local": "localhost:{port}"}),
        ("localhost", {"local": "127.0.0.1:{port}"}),
    ],
    ids=["remote", "letters", "null", "localhost", "loopback"],
)
def test_gvproxys_other_forms_are_taken(host: Host, local: str, gone: dict[str, str | None]) -> None:
    port = free_port()
    forward = {"Local": f"{local}:{port}", "REMOTE": "127.0.0.1:1", "annotation": {"any": "thing"}}
    assert call(host, "POST", "/services/forwarder/expose", forward) == (200, "")
    listed = {"local": f"127.0.0.1:{port}", "remote": "127.0.0.1:1", "protocol": "tcp"}
    assert host.control("GET", "/services/forwarder/all") == [listed]
    filled = {key: value and value.format(port=port) for key, value in gone.items()}
    assert call(host, "POST", "/services/forwarder/unexpose", filled) == (200, "")
    assert host.control("GET", "/services/forwarder/all") == []


@pytest.mark.parametrize("call_name", ["expose", "unexpose"])
def test_gvproxys_calls_are_posts(host: Host, call_name: str) -> None:
    assert call(host, "PUT", f"/services/forwarder/{call_name}", {}) == (400, "post only")


@pytest.mark.parametrize("key", ["OUT_PORT", "Out_Port"])
def test_vpnkits_other_forms_are_taken(host: Host, key: str) -> None:
    forward = {"Proto": "tcp", "OUT_IP": "127.0.0.1", key: (port := free_port()), "in_ip": "127.0.0.1", "In_Port": 1}
    assert call(host, "PUT", "/forwards/expose/port", {**forward, "out_path": None, "colour": "blue"}) == (200, "")
    gone = {"proto": "tcp", "out_ip": "127.0.0.1", "out_port": port}
    assert call(host, "POST", "/forwards/unexpose/port", gone) == (200, "")
    assert host.control("GET", "/forwards/list") == []


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
        ("/services/forwarder/expose", {"local": "elsewhere.test:1", "remote": "127.0.0.1:1"}, "not an IP address"),
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


@pytest.fixture
def datagrams() -> Iterator[socket.socket]:
    """Where datagrams are to arrive."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.bind(("127.0.0.1", 0))
        yield sock


def test_datagrams_by_hand_in_both_words(host: Host, datagrams: socket.socket) -> None:
    number = datagrams.getsockname()[1]
    one, other = free_port(), free_port()
    gvproxys = {"local": f"127.0.0.1:{one}", "remote": f"127.0.0.1:{number}", "protocol": "udp"}
    vpnkits = {"proto": "udp", "out_ip": "127.0.0.1", "out_port": other, "in_ip": "127.0.0.1", "in_port": number}
    assert call(host, "POST", "/services/forwarder/expose", gvproxys) == (200, "")
    assert call(host, "PUT", "/forwards/expose/port", vpnkits) == (200, "")
    for port in (one, other):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"%d" % port, ("127.0.0.1", port))
            assert datagrams.recv(10) == b"%d" % port
    assert gvproxys in host.control("GET", "/services/forwarder/all")
    assert vpnkits in host.control("GET", "/forwards/list")
    gone = {"local": gvproxys["local"], "protocol": "tcp"}
    assert call(host, "POST", "/services/forwarder/unexpose", gone)[0] == 500, "tcp is another"
    assert call(host, "POST", "/services/forwarder/unexpose", {**gone, "protocol": "udp"}) == (200, "")
    assert call(host, "DELETE", "/forwards/unexpose/port", vpnkits) == (200, "")
    assert host.control("GET", "/forwards/list") == []


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("out_ip", ["127.0.0.1", "0.0.0.0", "::1"])
def test_port_0_is_any_free_one_and_is_listed(host: Host, proto: str, out_ip: str) -> None:
    forward = {"proto": proto, "out_ip": out_ip, "out_port": 0, "in_ip": "127.0.0.1", "in_port": 9}
    for _ in range(2):
        assert call(host, "PUT", "/forwards/expose/port", forward) == (200, "")
    listed = host.control("GET", "/forwards/list")
    assert [{**one, "out_port": 0} for one in listed] == [forward, forward]
    ports = {one["out_port"] for one in listed}
    assert len(ports - {0}) == 2
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    for port in ports:
        family = socket.AF_INET6 if ":" in out_ip else socket.AF_INET
        with socket.socket(family, kind) as taken, pytest.raises(OSError, match="in use"):
            taken.bind((out_ip, port))


def test_pipes_lead_from_the_guests_directory_on_the_host(host: Host, tmp_path: Path) -> None:
    inside = tmp_path / "inside.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(5)
        listener.bind(str(inside))
        listener.listen()
        pipe = {"proto": "unix", "out_path": str(host.run / "app.sock"), "in_path": str(inside)}
        for method in ("PUT", "POST"):
            assert call(host, method, "/forwards/expose/pipe", pipe) == (200, "")
        assert host.control("GET", "/forwards/list") == [pipe]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(pipe["out_path"])
            client.sendall(b"through")
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(7, socket.MSG_WAITALL) == b"through"
    assert call(host, "POST", "/forwards/unexpose/pipe", pipe) == (200, "")
    assert not Path(pipe["out_path"]).exists()


def test_gvproxys_unix_leads_to_tcp(host: Host, server: Make) -> None:
    path, target = str(host.run / "web.sock"), place(server(echo))
    forward = {"local": path, "remote": f"tcp://{target}", "protocol": "unix"}
    assert call(host, "POST", "/services/forwarder/expose", forward) == (200, "")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(path)
        client.sendall(b"ping")
        assert client.recv(4, socket.MSG_WAITALL) == b"ping"
    assert [one["remote"] for one in host.control("GET", "/services/forwarder/all")] == [f"tcp:{target}"]
    host.kill_daemon()
    host.start_daemon()
    assert call(host, "POST", "/services/forwarder/unexpose", {"local": path, "protocol": "unix"}) == (200, "")


@pytest.mark.parametrize("name", ["/tmp/app.sock", "{run}/host-services/app.sock", "{run}/../app.sock", "{run}/.."])
def test_a_socket_elsewhere_on_the_host_is_refused_by_the_rule(host: Host, name: str) -> None:
    path = name.format(run=host.run)
    body = {"proto": "unix", "out_path": path, "in_path": "/x"}
    status, text = call(host, "PUT", "/forwards/expose/pipe", body)
    assert status == 400
    assert f"a unix socket is listened on directly inside {host.run}, nowhere else" in text


@pytest.mark.parametrize("name", ["control.sock", "mine.txt", "link.sock"])
def test_what_is_there_already_is_left_alone(host: Host, name: str, tmp_path: Path) -> None:
    (host.run / "mine.txt").write_text("mine")
    (host.run / "link.sock").symlink_to(tmp_path / "elsewhere.sock")
    forward = {"listen": f"unix:{host.run / name}", "target": "127.0.0.1:1"}
    with pytest.raises(RefusedError, match="exists already"):
        host.control("PUT", "/forwards", [forward])
    body = {"proto": "unix", "out_path": str(host.run / name), "in_path": "/x"}
    assert "exists already" in call(host, "PUT", "/forwards/expose/pipe", body)[1]
    assert (host.run / "mine.txt").read_text() == "mine"
    assert host.control("GET", "/forwards/list") == []


def test_a_unix_target_and_the_proxy_protocol_are_read_back(host: Host) -> None:
    port = free_port()
    forward = Forward.parse(f"127.0.0.1:{port}", "unix:/run/x.sock", proxy_protocol="v2")
    expose(host.run / "control.sock", forward)
    assert bound_forwards(row for row in list_forwards(host.run / "control.sock") if row["origin"] == "manual") == [
        forward
    ]
    unexpose(host.run / "control.sock", forward.listen)
    assert host.control("GET", "/services/forwarder/all") == []


def test_by_hand_is_told_who_has_the_port(host: Host, server: Make) -> None:
    port = free_port()
    host.serve((f"127.0.0.1:{port}", str(server(echo).target)))
    for local in (f":{port}", f"0.0.0.0:{port}"):
        text = call(host, "POST", "/services/forwarder/expose", {"local": local, "remote": "127.0.0.1:1"})[1]
        assert f"listen tcp 0.0.0.0:{port}: bind: address already in use: 127.0.0.1:{port} is forwarded to" in text
        assert text.endswith("(declared)")
