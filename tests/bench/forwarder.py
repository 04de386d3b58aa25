"""The relay beside its peers, in one run: bulk throughput, keep-alive requests and new connections a second.

Usage: python tests/bench/forwarder.py [ROUNDS]
Each way leads from 127.0.0.1 to the same server: directly, through the forwarder, and through docker-proxy and socat
where they are there. Rounds alternate between the ways, and the medians are set against docker-proxy's or the direct
way's, for absolute figures say more of the machine and its load.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from portchain.channel.handoff import FROM_GUEST, Connection, Hello, Listen
from portchain.forwarder.listener import close_listener, open_listener, open_unix_listener
from portchain.mapping.forward import Endpoint

SECONDS = 1.0
BLOCK = 256 * 1024
REPLY = b"x" * 1024
REQUEST = b"y" * 128
CONNECTIONS = 16


def serve(listener: socket.socket) -> None:
    """A reply for each request; a client that begins with B gets bytes without end."""
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=answer, args=(client,), daemon=True).start()


def answer(client: socket.socket) -> None:
    """One connection."""
    block = bytes(BLOCK)
    with client:
        try:
            while request := client.recv(len(REQUEST)):
                while request[0] == ord("B"):
                    client.sendall(block)
                client.sendall(REPLY)
        except OSError:
            return


def connect(port: int) -> socket.socket:
    """A client."""
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def bulk(port: int) -> float:
    """Gbit a second of one connection, from the server to the client."""
    buffer, received, end = bytearray(1024 * 1024), 0, time.monotonic() + SECONDS
    with connect(port) as client:
        client.sendall(b"B")
        while time.monotonic() < end:
            received += client.recv_into(buffer)
    return received * 8 / SECONDS / 1e9


def keep_alive(port: int) -> float:
    """Requests a second over connections that stay open."""
    done, end = 0, time.monotonic() + SECONDS
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(port)) for _ in range(CONNECTIONS)]
        while time.monotonic() < end:
            for client in clients:
                client.sendall(REQUEST)
            for client in clients:
                client.recv(len(REPLY), socket.MSG_WAITALL)
            done += len(clients)
    return done / SECONDS


def new_connections(port: int) -> float:
    """Connections a second, one request on each."""
    done, end = 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        with connect(port) as client:
            client.sendall(REQUEST)
            client.recv(len(REPLY), socket.MSG_WAITALL)
        done += 1
    return done / SECONDS


MEASURES: dict[str, Callable[[int], float]] = {
    "bulk, Gbit/s": bulk,
    "keep-alive, requests/s": keep_alive,
    "new connections/s": new_connections,
}


def free_port() -> int:
    """A port nobody holds now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def process(*command: str) -> Iterator[None]:
    """A command, ended on leaving."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            yield
        finally:
            running.kill()


@contextmanager
def forwarder(target: int) -> Iterator[int]:
    """The guest end, handed one listener."""
    main = "import sys; from portchain.guest.services.vpnkit_forwarder import main; main(sys.argv[1])"
    with tempfile.TemporaryDirectory() as folder:
        port, path = free_port(), Path(folder) / "forwarder.sock"
        listener = open_listener(Endpoint("tcp", "127.0.0.1", port), os.getuid())
        channel = open_unix_listener(path, os.getuid(), socket.SOCK_SEQPACKET)
        with process(sys.executable, "-c", main, str(path)):
            connection = Connection(channel.accept()[0], FROM_GUEST)
            connection.receive()
            connection.send(Hello())
            connection.send(Listen("bench", f"tcp:127.0.0.1:{target}"), listener.fileno())
            connection.receive()
            threading.Thread(target=drain, args=(connection,), daemon=True).start()
            yield port
        close_listener(listener)
        close_listener(channel)


def drain(connection: Connection) -> None:
    """Take in the counters."""
    try:
        while True:
            connection.receive()
    except (EOFError, OSError):
        return


@contextmanager
def docker_proxy(program: str, target: int) -> Iterator[int]:
    """Docker's userland proxy."""
    port = free_port()
    ends = ("-host-ip", "127.0.0.1", "-host-port", str(port), "-container-ip", "127.0.0.1")
    script = 'exec "$0" "$@" 3>/dev/null'
    with process("sh", "-c", script, program, "-proto", "tcp", *ends, "-container-port", str(target)):
        time.sleep(0.5)
        yield port


@contextmanager
def socat(program: str, target: int) -> Iterator[int]:
    """A process for each connection."""
    port = free_port()
    listen = f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,nodelay,backlog=128"
    with process(program, "-b262144", listen, f"TCP:127.0.0.1:{target},nodelay"):
        time.sleep(0.5)
        yield port


def find_docker_proxy() -> str | None:
    """The host's own, or that of a built image."""
    images = Path("/var/cache/portchain/images").glob("docker-*/usr/sbin/docker-proxy")
    return shutil.which("docker-proxy") or next((str(path) for path in images), None)


def measure(ways: dict[str, int], rounds: int) -> dict[tuple[str, str], float]:
    """The medians, by measure and way."""
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for name, measured in MEASURES.items():
            for way, port in ways.items():
                found.setdefault((name, way), []).append(measured(port))
    return {key: statistics.median(values) for key, values in found.items()}


def main() -> int:
    """Print a line for each measure and way."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = multiprocessing.Process(target=serve, args=(listener,), daemon=True)
    server.start()
    target = listener.getsockname()[1]
    with ExitStack() as stack:
        ways = {"direct": target, "forwarder": stack.enter_context(forwarder(target))}
        if proxy := find_docker_proxy():
            ways["docker-proxy"] = stack.enter_context(docker_proxy(proxy, target))
        if program := shutil.which("socat"):
            ways["socat"] = stack.enter_context(socat(program, target))
        medians = measure(ways, rounds)
        base = "docker-proxy" if proxy else "direct"
    server.kill()
    for name in MEASURES:
        for way in ways:
            value, ratio = medians[name, way], medians[name, way] / medians[name, base]
            print(f"{name:24} {way:14} {value:10.1f}   {ratio:5.2f} of {base}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
