"""A server of another machine: the link to its network has frames held back for a while, as a real one does."""

from __future__ import annotations

import contextlib
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from portchain.linux import syscalls

DELAY = 0.01
ADDRESS = "192.0.2.2"
DEADLINE = 10.0
_SOL_PACKET, _VNET_HDR = 263, 15
_ALL_PROTOCOLS = 3
_LARGEST = 1 << 17

Made = TypeVar("Made")


@contextlib.contextmanager
def network() -> Iterator[int]:
    """A network namespace; yields a process in it."""
    own = Path("/proc/self/ns/net").stat().st_ino
    with subprocess.Popen(["unshare", "--net", "sleep", "60"]) as process:
        end = time.monotonic() + DEADLINE
        while Path(f"/proc/{process.pid}/ns/net").stat().st_ino == own:
            if time.monotonic() > end:
                raise TimeoutError("no network namespace")
            time.sleep(0.02)
        try:
            yield process.pid
        finally:
            process.kill()


def ip(pid: int, command: str) -> None:
    """Run ip in the network of a process."""
    subprocess.run(["nsenter", "--net", "--target", str(pid), "ip", *command.split()], check=True)


def entered(pid: int, function: Callable[..., Made], *arguments: Any) -> Made:
    """Call in the network of a process; an error is raised here."""
    made: list[Made] = []
    errors: list[Exception] = []

    def call() -> None:
        try:
            with Path(f"/proc/{pid}/ns/net").open() as namespace:
                syscalls.setns(namespace.fileno(), syscalls.CLONE_NEWNET)
            made.append(function(*arguments))
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return made[0]


@contextlib.contextmanager
def far_server(link: str) -> Iterator[int]:
    """At `ADDRESS`, behind the veth ``link`` of this network: greets, then echoes. Yields its TCP port."""
    with network() as wire, network() as far:
        subprocess.run(["ip", "link", "set", link, "netns", str(wire)], check=True)
        ip(wire, f"link add wire0 type veth peer name eth0 netns {far}")
        for name in (link, "wire0"):
            ip(wire, f"link set {name} up")
        ip(far, f"address add {ADDRESS}/24 dev eth0")
        ip(far, "link set eth0 up")
        near, distant = (entered(wire, _frames, name) for name in (link, "wire0"))
        for source, sink in ((near, distant), (distant, near)):
            _in_thread(_carry, source, sink)
        listener = entered(far, socket.create_server, (ADDRESS, 0))
        _in_thread(_accept, listener)
        yield listener.getsockname()[1]


def exchange(port: int, size: int) -> str:
    """What becomes of a connection to the server: its greeting, and how many of so many bytes it gave back."""
    with socket.create_connection((ADDRESS, port), 2) as client, client.makefile("rb") as stream:
        greeting = stream.readline().decode().strip()
        sender = threading.Thread(target=client.sendall, args=(bytes(size),))
        sender.start()
        found = len(stream.read(size))
        sender.join()
    return f"{greeting} {found}"


def _in_thread(function: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()


def _frames(name: str) -> socket.socket:
    """All that passes an interface, with what the kernel has not done yet for a frame, its checksum, say."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
    sock.setsockopt(_SOL_PACKET, _VNET_HDR, 1)
    sock.bind((name, 0))
    return sock


def _carry(source: socket.socket, sink: socket.socket) -> None:
    waiting: queue.Queue[tuple[float, bytes]] = queue.Queue()

    def deliver() -> None:
        with contextlib.suppress(OSError):  # the link is gone
            while True:
                due, frame = waiting.get()
                time.sleep(max(0.0, due - time.monotonic()))
                sink.send(frame)

    _in_thread(deliver)
    with contextlib.suppress(OSError):
        while True:
            frame, (_, _, kind, *_) = source.recvfrom(_LARGEST)
            if kind != socket.PACKET_OUTGOING:
                waiting.put((time.monotonic() + DELAY, frame))


def _accept(listener: socket.socket) -> None:
    while True:
        client, _ = listener.accept()
        _in_thread(_echo, client)


def _echo(client: socket.socket) -> None:
    with client, contextlib.suppress(OSError):
        client.sendall(b"here\n")
        while data := client.recv(65536):
            client.sendall(data)
