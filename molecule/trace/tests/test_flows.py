"""UDP clients that conntrack keeps leading elsewhere than the rules do now."""

from __future__ import annotations

import shlex
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from probing import datagram
from test_faults import address_of
from testinfra.host import Host

from support.host_ports import free_port
from support.waiting import eventually

Trace = Callable[..., dict[str, Any]]
EVERY = 0.1  # seconds
SILENT = (
    "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 7000)); time.sleep(300)"
)
FROM_THE_GUEST = """
import socket, sys, time
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("127.0.0.1", int(sys.argv[1])))
for _ in range(300):
    try: client.send(b"again")
    except OSError: pass
    time.sleep(0.1)
"""


class Client:
    """Goes on sending from one socket; ``answers`` are counted."""

    def __init__(self, port: int) -> None:
        self.answers = 0
        self._stop = threading.Event()
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.connect(("127.0.0.1", port))
        self._sock.settimeout(EVERY)
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._stop.set()
        self._thread.join(10)
        self._sock.close()

    def _send(self) -> None:
        while not self._stop.wait(EVERY):
            try:
                self._sock.send(b"again")
                self._sock.recv(100)
                self.answers += 1
            except OSError:
                continue


@pytest.fixture
def port(probe: Any) -> int:
    """A UDP port that answers."""
    found = free_port()
    probe(ports={"7000/udp": found})
    datagram(found, b"ready")
    return found


def stale(trace: Trace, port: int, what: str) -> dict[str, Any]:
    """The verdict on a flow that goes elsewhere."""
    found = eventually(lambda: trace(f"{port}/udp")["verdict"], what, 20)
    assert (found["code"], found["hop"]) == ("flow-elsewhere", "nat")
    return dict(found)


def remedied(verdict: dict[str, Any]) -> None:
    """Run the command of its remedy."""
    command = shlex.split(verdict["remedy"].rpartition(": ")[2])
    subprocess.run(command, capture_output=True, timeout=30, check=True)


@pytest.fixture
def silent(probe: Any) -> str:
    """The address of a container that takes datagrams and answers none."""
    return address_of(probe(entrypoint=["python3", "-c", SILENT]))


def test_a_client_that_another_container_gets(
    port: int, silent: str, host: Host, trace: Trace, mended: Callable[[str], None]
) -> None:
    """A rule had led it there that is gone; it is not answered until what the remedy says is done."""
    rule = f"DOCKER -p udp -m udp --dport {port} -j DNAT --to-destination {silent}:7000"
    host.check_output(f"iptables -t nat -I {rule}")
    with Client(port) as client:
        eventually(lambda: f"src={silent} " in host.check_output("cat /proc/net/nf_conntrack"), "its flow")
        host.check_output(f"iptables -t nat -D {rule}")
        found = stale(trace, port, "the client's flow")
        assert f"goes to {silent}:7000" in found["text"]
        assert not client.answers
        remedied(found)
        eventually(lambda: client.answers, "an answer to the same client", 30)
        mended(f"{port}/udp")


@contextmanager
def untranslated(host: Host, port: int) -> Iterator[None]:
    """A client in the guest whose flow began while the engine's rule was away."""
    rules = host.check_output("iptables -t nat -S DOCKER").splitlines()
    rule = next(line for line in rules if f"--dport {port} " in line).removeprefix("-A ")
    host.check_output(f"iptables -t nat -D {rule}")
    started = f"nohup python3 -c '{FROM_THE_GUEST}' {port} >/dev/null 2>&1 & echo $!"
    pid = host.check_output(started).strip()
    try:
        eventually(lambda: f"dport={port} " in host.check_output("cat /proc/net/nf_conntrack"), "its flow")
        host.check_output(f"iptables -t nat -A {rule}")
        yield
    finally:
        host.check_output(f"kill {pid}")


def test_a_client_that_is_not_translated(port: int, host: Host, trace: Trace, mended: Callable[[str], None]) -> None:
    """It is none of the relay's, which has such flows forgotten, but goes on in the guest itself."""
    with untranslated(host, port):
        found = stale(trace, port, "the client's flow")
        assert f"goes to 127.0.0.1:{port}, as" in found["text"]
        remedied(found)
        mended(f"{port}/udp")
