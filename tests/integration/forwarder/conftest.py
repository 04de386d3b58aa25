"""A forwarder and a guest end as two processes on 127.0.0.1, and small servers to reach through them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from portchain.http.blocking_client import request
from portchain.linuxkit import host_sockets
from support.waiting import eventually

ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parents[3] / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
DEADLINE = 5.0
RELAY_UID = 65000
GUEST_END = "import sys; from portchain.guest.services.vpnkit_forwarder.vpnkit_forwarder import main; main(sys.argv[1])"


SERVICE_SOCKETS = "engine=unix:/run/guest-services/docker.sock debug-shell ssh"


class RefusedError(Exception):
    """The forwarder's status and message."""


class Host:
    """The two daemons of the host, and the guest's end."""

    def __init__(self, directory: Path) -> None:
        self.run = directory / "run"
        self.state = directory / "state"
        sockets = self.state / host_sockets.FILE
        sockets.parent.mkdir(parents=True)
        sockets.write_text(host_sockets.dump([{host_sockets.ANNOTATION: SERVICE_SOCKETS}]))
        self._relay: subprocess.Popen[bytes] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None
        self._guest: subprocess.Popen[bytes] | None = None

    @property
    def relay_command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "portchain.host.relay", "--run-dir", str(self.run)),
            *("--guest-uid", str(os.getuid()), "--uid", str(RELAY_UID)),
        ]

    def start_relay(self) -> None:
        self._relay = subprocess.Popen(self.relay_command, env=ENVIRONMENT)
        eventually(self.channel.exists, "the relay to be there for the guest")

    def stop_relay(self) -> int:
        return self._end(self._relay, signal.SIGTERM)

    def kill_relay(self) -> None:
        self._end(self._relay, signal.SIGKILL)

    @property
    def daemon_command(self) -> list[str]:
        uid = str(os.getuid())
        return [
            *(sys.executable, "-m", "portchain.host", "--guest", "test", "--run-dir", str(self.run)),
            *("--state-dir", str(self.state), "--owner", uid, "--guest-uid", uid),
        ]

    def start_daemon(self) -> None:
        self._daemon = subprocess.Popen(self.daemon_command, env=ENVIRONMENT)
        eventually(self._answers, "the forwarder to answer")

    def _answers(self) -> bool:
        try:
            return bool(self.control("GET", "/status"))
        except OSError:
            return False

    def start_guest(self) -> None:
        self._guest = subprocess.Popen([sys.executable, "-c", GUEST_END, str(self.channel)], env=ENVIRONMENT)

    def kill_guest(self) -> None:
        self._end(self._guest, signal.SIGKILL)

    def kill_daemon(self) -> None:
        self._end(self._daemon, signal.SIGKILL)

    def stop_daemon(self) -> int:
        return self._end(self._daemon, signal.SIGTERM)

    @staticmethod
    def _end(process: subprocess.Popen[bytes] | None, number: int) -> int:
        assert process is not None
        if process.poll() is None:
            process.send_signal(number)
        return process.wait(DEADLINE)

    def stop(self) -> None:
        for process in (self._guest, self._daemon, self._relay):
            if process:
                self._end(process, signal.SIGKILL)

    @property
    def channel(self) -> Path:
        return self.run / "host-services" / "forwarder.sock"

    def control(self, method: str, path: str, body: object = None) -> Any:
        status, answer = request(str(self.run / "control.sock"), method, path, DEADLINE, body)
        if status != HTTPStatus.OK:
            raise RefusedError(status, json.loads(answer)["message"])
        return json.loads(answer)

    def connected(self) -> bool:
        return bool(self.control("GET", "/status")["connected"])

    def put(self, *forwards: tuple[str, str]) -> Any:
        return self.control("PUT", "/forwards", [{"listen": a, "target": b} for a, b in forwards])

    def declared(self) -> list[dict[str, Any]]:
        return [f for f in self.control("GET", "/forwards") if f["origin"] == "declared"]

    def serve(self, *forwards: tuple[str, str]) -> None:
        """Declare forwards and wait until the guest serves them."""
        self.put(*forwards)
        self.wait_served()

    def wait_served(self) -> None:
        eventually(lambda: all(f["state"] == "listening" for f in self.declared()), "the guest to serve the forwards")


@pytest.fixture
def idle_host(tmp_path: Path) -> Iterator[Host]:
    """The forwarder and the guest's end to be started by the test; the relay runs."""
    host = Host(tmp_path)
    host.start_relay()
    yield host
    host.stop()


@pytest.fixture
def host(idle_host: Host) -> Host:
    """All of them running."""
    idle_host.start_daemon()
    idle_host.start_guest()
    return idle_host


class Server:
    """A TCP server on 127.0.0.1; ``handle`` runs in a thread for each connection."""

    def __init__(self, handle: Callable[[socket.socket], None]) -> None:
        self._handle = handle
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        self.target = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        with connection:
            self._handle(connection)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Callable[[Callable[[socket.socket], None]], Server]]:
    """Make servers that end with the test."""
    servers: list[Server] = []

    def make(handle: Callable[[socket.socket], None]) -> Server:
        servers.append(Server(handle))
        return servers[-1]

    yield make
    for each in servers:
        each.close()


Answer = Callable[[bytes], bytes | None]


class UdpServer:
    """Answers each datagram; with ``answer`` giving None it does not."""

    def __init__(self, answer: Answer, address: str = "127.0.0.1") -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self._sock.bind((address, 0))
        self.target = f"udp:{address}:{self._sock.getsockname()[1]}"
        self.peers: list[tuple[str, int]] = []
        self._answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, peer = self._sock.recvfrom(70_000)
                if data == b"stop":
                    self._sock.close()
                self.peers.append(peer)
                reply = self._answer(data)
                if reply is not None:
                    self._sock.sendto(reply, peer)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.sendto(b"stop", self._sock.getsockname())


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], UdpServer]]:
    """Make servers that end with the test."""
    servers: list[UdpServer] = []

    def make(answer: Answer) -> UdpServer:
        servers.append(UdpServer(answer))
        return servers[-1]

    yield make
    for each in servers:
        each.close()


def echo(connection: socket.socket) -> None:
    """Send back what comes, until the client ends."""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(65536):
            connection.sendall(data)


def connect(port: int) -> socket.socket:
    """A client of a forward."""
    return socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)


def ask(port: int, data: bytes = b"ping") -> bytes:
    """One message and its echo."""
    with connect(port) as client:
        client.sendall(data)
        return client.recv(len(data), socket.MSG_WAITALL)
