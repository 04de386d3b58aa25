"""Containers in host network mode: what they listen on in the guest is known there, and appears on the host."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from portchain.http.blocking_client import get_json, request

SERVER = """
import socket, sys, threading
def serve(sock):
    while True:
        client, _ = sock.accept()
        client.sendall(b"here\\n")
        client.close()
for line in sys.argv[1:]:
    protocol, address, port, v6only = line.split(",")
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET,
                         socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if v6only:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
    sock.bind((address, int(port)))
    if protocol == "tcp":
        sock.listen()
        threading.Thread(target=serve, args=(sock,)).start()
    globals()[line] = sock
threading.Event().wait()
"""
# What is bound, and the address it is listed with.
BOUND = {
    "tcp,127.0.0.1,18101,": "127.0.0.1",
    "tcp,0.0.0.0,18102,": "0.0.0.0",
    "tcp,::,18103,0": "",
    "tcp,::,18104,1": "::",
    "tcp,::1,18105,": "::1",
    "udp,0.0.0.0,18106,": "0.0.0.0",
}
PORT = 18102
DEADLINE = 5.0


def rows(run_dir: Path) -> list[dict[str, Any]]:
    """What lifecycle-server lists, asked from the host."""
    found: list[dict[str, Any]] = get_json(str(run_dir / "lifecycle-server.sock"), "/host-network/listeners", DEADLINE)
    return found


def first_time(condition: Callable[[], bool]) -> float:
    """Seconds until the condition held."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < DEADLINE
        time.sleep(0.02)
    return time.monotonic() - began


def answers(port: int) -> bool:
    """Whether the server's greeting comes from the host's localhost."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as client:
            return client.makefile().readline() == "here\n"
    except OSError:
        return False


@pytest.fixture
def start(engine: Any) -> Iterator[Callable[..., Any]]:
    """Starts the server in a container; without host network mode if so asked."""
    tag = next(tag for image in engine.images.list() for tag in image.tags if tag.startswith("portchain/kicbase:"))
    started = []

    def run(**options: Any) -> Any:
        command = ["python3", "-c", SERVER, *BOUND]
        started.append(engine.containers.run(tag, command, entrypoint=[], detach=True, **options))
        return started[-1]

    yield run
    for container in started:
        container.remove(force=True)


def test_lifecycle_server_answers_a_ping(run_dir: Path) -> None:
    assert request(str(run_dir / "lifecycle-server.sock"), "GET", "/ping", DEADLINE) == (200, b"OK")


def test_listeners_are_listed_as_they_were_bound(start: Callable[..., Any], run_dir: Path) -> None:
    others = start()  # the same ports, but in a network of its own
    container = start(network_mode="host")
    first_time(lambda: len([row for row in rows(run_dir) if row["container"] == container.id]) == len(BOUND))
    listed = rows(run_dir)
    expected = []
    for line, address in BOUND.items():
        protocol, _, port, _ = line.split(",")
        expected.append({"protocol": protocol, "address": address, "port": int(port), "container": container.id})
    key = lambda row: row["port"]  # noqa: E731
    assert sorted((row for row in listed if row["container"] == container.id), key=key) == expected
    assert not [row for row in listed if row["container"] == others.id]
    container.kill()
    first_time(lambda: not [row for row in rows(run_dir) if row["container"] == container.id])


def test_a_listener_appears_on_the_host_and_goes_with_its_container(
    start: Callable[..., Any], run_dir: Path, host: Host
) -> None:
    assert not answers(PORT)
    container = start(network_mode="host")
    first_time(lambda: host.socket(f"tcp://0.0.0.0:{PORT}").is_listening)
    assert first_time(lambda: answers(PORT)) < 1
    container.kill()
    assert first_time(lambda: not answers(PORT)) < 1


def test_asking_costs_next_to_nothing(start: Callable[..., Any], run_dir: Path) -> None:
    start(network_mode="host")
    first_time(lambda: len(rows(run_dir)) >= len(BOUND))
    times = []
    for _ in range(20):
        began = time.monotonic()
        rows(run_dir)
        times.append(time.monotonic() - began)
    assert statistics.median(times) < 0.02
