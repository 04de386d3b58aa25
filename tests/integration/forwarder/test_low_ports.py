"""Ports below 1024 with the right to them and without, in a network of the test's own."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portchain.http.blocking_client import request

from .conftest import DEADLINE, Answer, Host, RefusedError, Server, UdpServer, echo

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")
Make = Callable[[Callable[[socket.socket], None]], Server]
Serve = Callable[[Answer], UdpServer]

ASK = """
import socket, sys
kind, address, port, data = sys.argv[1:]
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, int(kind)) as client:
    client.settimeout(5)
    client.connect((address, int(port)))
    client.send(data.encode())
    print(client.recv(100).decode(), end="")
"""


class Apart(Host):
    """The forwarder is alone in its network, and has the capabilities that are left by ``dropped``."""

    dropped = ""
    more: tuple[str, ...] = ()

    @property
    def daemon_command(self) -> list[str]:
        rights = f"setpriv --bounding-set={self.dropped or '+all'} --inh-caps=-all"
        script = f'ip link set lo up && exec {rights} "$@"'
        return ["unshare", "--net", "sh", "-c", script, "sh", *super().daemon_command, *self.more]

    def ask(self, kind: socket.SocketKind, address: str, port: int, data: str) -> str:
        """Send and receive as a client in the forwarder's network."""
        pid = self.control("GET", "/status")["pid"]
        command = ["nsenter", f"--net=/proc/{pid}/ns/net", "/usr/bin/python3", "-c", ASK]
        words = [str(int(kind)), address, str(port), data]
        done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=DEADLINE * 2, check=True)
        return done.stdout


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Apart]:
    host = Apart(tmp_path)
    host.start_relay()
    yield host
    host.stop()


@pytest.mark.parametrize("listen", [":80", "127.0.0.1:80", "udp::53", "udp:0.0.0.0:53"])
def test_without_the_right_it_is_said_how_to_give_it(apart: Apart, listen: str) -> None:
    apart.dropped = "-net_bind_service"
    apart.start_daemon()
    protocol = "udp" if listen.startswith("udp") else "tcp"
    with pytest.raises(RefusedError) as refusal:
        apart.put((listen, f"{protocol}:127.0.0.1:9"))
    place = listen.removeprefix("udp:")
    shown = f"0.0.0.0{place}" if place.startswith(":") else place
    port = place.rpartition(":")[2]
    assert refusal.value.args[1] == (
        f"Ports are not available: exposing port {protocol.upper()} {shown} -> 0.0.0.0:0: listen {protocol} {shown}: "
        "bind: permission denied: below net.ipv4.ip_unprivileged_port_start the forwarder needs CAP_NET_BIND_SERVICE "
        f"on the host: run it as root, or run sysctl net.ipv4.ip_unprivileged_port_start={port}"
    )
    assert apart.declared() == []


def test_the_other_way_out_works(apart: Apart) -> None:
    apart.dropped = "-net_bind_service"
    apart.start_daemon()
    pid = apart.control("GET", "/status")["pid"]
    setting = ("sysctl", "-q", "net.ipv4.ip_unprivileged_port_start=53")
    subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", *setting], check=True, timeout=DEADLINE)
    assert len(apart.put(("udp::53", "udp:127.0.0.1:9"), (":80", "127.0.0.1:9"))) >= 2


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_with_the_right_they_are_served(apart: Apart, server: Make, serve: Serve, address: str) -> None:
    apart.start_daemon()
    apart.start_guest()
    apart.serve((":80", server(echo).target), ("udp::53", serve(lambda data: data).target))
    assert apart.ask(socket.SOCK_STREAM, address, 80, "ping") == "ping"
    assert apart.ask(socket.SOCK_DGRAM, address, 53, "query") == "query"


def test_they_may_be_had_by_one_switch(apart: Apart) -> None:
    apart.more = ("--privileged-ports",)
    apart.start_daemon()
    for local, protocol in ((":80", "tcp"), (":53", "udp")):
        body = {"local": local, "remote": "127.0.0.1:9", "protocol": protocol}
        assert request(str(apart.run / "control.sock"), "POST", "/services/forwarder/expose", DEADLINE, body)[0] == 200


def test_the_switch_is_named_where_they_are_refused(apart: Apart) -> None:
    apart.start_daemon()
    body = {"proto": "tcp", "out_ip": "127.0.0.1", "out_port": 80, "in_ip": "127.0.0.1", "in_port": 9}
    with pytest.raises(RefusedError, match="set host_forwarder_privileged_ports: true for all ports below 1024"):
        apart.control("PUT", "/forwards/expose/port", body)
