"""The forwarder beside its peers, in one run: bulk throughput, requests, new connections and datagrams a second.

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
from http import HTTPStatus
from pathlib import Path

from portchain.http.blocking_client import request
from support.host_ports import free_port

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


def serve_datagrams(sock: socket.socket) -> None:
    """A reply for each; those that begin with B are counted, and C asks how many they were."""
    buffer, count = bytearray(2048), 0
    while True:
        size, client = sock.recvfrom_into(buffer)
        if buffer[0] == ord("B"):
            count += 1
        elif buffer[0] == ord("C"):
            sock.sendto(b"%d" % count, client)
            count = 0
        else:
            sock.sendto(memoryview(buffer)[:size], client)


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


def datagram_client(port: int) -> socket.socket:
    """A client."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(1.0)
    client.connect(("127.0.0.1", port))
    return client


def datagram_requests(port: int) -> float:
    """Datagrams a second that were answered, of clients that wait for each answer."""
    done, end = 0, time.monotonic() + SECONDS
    with ExitStack() as stack:
        clients = [stack.enter_context(datagram_client(port)) for _ in range(CONNECTIONS)]
        while time.monotonic() < end:
            for client in clients:
                client.send(REQUEST)
            for client in clients:
                client.recv(len(REQUEST))
            done += len(clients)
    return done / SECONDS


def datagram_stream(port: int) -> float:
    """Datagrams a second that arrive, of one client that sends as fast as it can."""
    block = b"B" * 1024
    with datagram_client(port) as client:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for _ in range(64):
                client.send(block)
        time.sleep(0.3)
        client.send(b"C")
        return int(client.recv(20)) / SECONDS


MEASURES: dict[str, Callable[[int], float]] = {
    "bulk, Gbit/s": bulk,
    "keep-alive, requests/s": keep_alive,
    "new connections/s": new_connections,
    "udp requests/s": datagram_requests,
    "udp one way, datagrams/s": datagram_stream,
}


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
    """The host's daemons and the guest's end."""
    main = "import sys; from portchain.guest.services.vpnkit_forwarder.vpnkit_forwarder import main; main(sys.argv[1])"
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        port, run, uid = free_port(), f"{folder}/run", str(os.getuid())
        daemon = ("portchain.host", "--guest", "bench", "--run-dir", run, "--state-dir", f"{folder}/state")
        relay = ("portchain.host.relay", "--run-dir", run, "--guest-uid", uid, "--uid", "65000")
        stack.enter_context(process(sys.executable, "-m", *relay))
        stack.enter_context(process(sys.executable, "-m", *daemon, "--owner", uid, "--guest-uid", uid))
        stack.enter_context(process(sys.executable, "-c", main, f"{run}/host-services/forwarder.sock"))
        ends = {"listen": f"127.0.0.1:{port}", "target": f"127.0.0.1:{target}"}
        forwards = [{**ends, "protocol": protocol} for protocol in ("tcp", "udp")]
        time.sleep(2.0)
        status, answer = request(f"{run}/control.sock", "PUT", "/forwards", 10, forwards)
        assert status == HTTPStatus.OK, answer
        time.sleep(0.5)
        yield port


@contextmanager
def docker_proxy(program: str, target: int) -> Iterator[int]:
    """Docker's userland proxy."""
    port = free_port()
    ends = ("-host-ip", "127.0.0.1", "-host-port", str(port), "-container-ip", "127.0.0.1")
    script = 'exec "$0" "$@" 3>/dev/null'
    with ExitStack() as stack:
        for protocol in ("tcp", "udp"):
            command = (program, "-proto", protocol, *ends, "-container-port", str(target))
            stack.enter_context(process("sh", "-c", script, *command))
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
                if way == "socat" and name.startswith("udp"):
                    continue
                found.setdefault((name, way), []).append(measured(port))
    return {key: statistics.median(values) for key, values in found.items()}


def main() -> int:
    """Print a line for each measure and way."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    target = listener.getsockname()[1]
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", target))
    servers = [
        multiprocessing.Process(target=serve, args=(listener,), daemon=True),
        multiprocessing.Process(target=serve_datagrams, args=(datagrams,), daemon=True),
    ]
    for server in servers:
        server.start()
    with ExitStack() as stack:
        ways = {"direct": target, "forwarder": stack.enter_context(forwarder(target))}
        if proxy := find_docker_proxy():
            ways["docker-proxy"] = stack.enter_context(docker_proxy(proxy, target))
        if program := shutil.which("socat"):
            ways["socat"] = stack.enter_context(socat(program, target))
        medians = measure(ways, rounds)
        base = "docker-proxy" if proxy else "direct"
    for server in servers:
        server.kill()
    for name in MEASURES:
        for way in (way for way in ways if (name, way) in medians):
            value, ratio = medians[name, way], medians[name, way] / medians[name, base]
            print(f"{name:24} {way:14} {value:10.1f}   {ratio:5.2f} of {base}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
