"""What clients of docker.sock ask and what an engine that was taken over answers: neither stops another's exchange."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from probing import Guest, Use, as_root
from testinfra.host import Host

from portchain.http import blocking_client
from portchain.linux.control_groups import parse_hierarchies, read_memory
from support.waiting import eventually

NobodyWaits = Callable[[], AbstractContextManager[None]]

TURN = 0.5  # seconds within which the daemon answers others; parsing the longest document takes a part of that
MEMORY = 384 * 1024  # KiB that the daemon may have grown by
CREATE = b"POST /containers/create HTTP/1.1\r\nHost: docker\r\n"
# Takes the engine's place in the guest for the seconds of its first argument, and answers what its second one says.
PRETENDER = r"""
import os, socket, sys, threading, time
path, seconds, lengths = "/run/guest-services/docker.sock", float(sys.argv[1]), []
BODIES = {
    "lists": b"[" + b"[]," * 20_000_000 + b"[]]",
    "deep": b"[" * 1_000_000,
    "odd": b'{"Id": NaN, "Name": [1e999], "State": "up", "HostConfig": 7, "NetworkSettings": {"Ports": [1]}}',
    "endless": None,
}
body = BODIES[sys.argv[2]]

def serve(client):
    with client:
        client.settimeout(seconds)
        try:
            while b"\r\n\r\n" not in client.recv(65536):
                pass
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
            if body is None:
                client.sendall(b"[")
                time.sleep(seconds)
            else:
                client.sendall(body)
        except OSError:
            pass

os.rename(path, path + ".kept")
try:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    listener.settimeout(0.1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            client, _ = listener.accept()
        except TimeoutError:
            continue
        threading.Thread(target=serve, args=(client,), daemon=True).start()
finally:
    os.replace(path + ".kept", path)
    os._exit(0)
"""


def connected(attacker: Guest) -> socket.socket:
    """A client of docker.sock."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    client.connect(str(attacker.run_dir / "docker.sock"))
    return client


def status_of(client: socket.socket) -> int:
    """The status of the answer that comes next."""
    head = b""
    while b"\r\n" not in head:
        data = client.recv(65536)
        assert data, "no answer"
        head += data
    return int(head.split()[1])


def created(attacker: Guest, create: dict[str, object]) -> tuple[int, str]:
    """The answer to a create request."""
    status, body = blocking_client.request(
        str(attacker.run_dir / "docker.sock"), "POST", "/containers/create", 60, create
    )
    return status, str(json.loads(body).get("message", ""))


def first_bytes(attacker: Guest, request: str) -> bytes:
    """The beginning of the answer to a request, all of which is read, but for no longer than a few seconds."""
    begun = b""
    with connected(attacker) as client, contextlib.suppress(TimeoutError):
        client.settimeout(3)
        client.sendall(f"{request} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())
        while data := client.recv(1 << 20):
            begun = begun or data
    return begun


@pytest.fixture
def daemon(attacker: Guest) -> Callable[[], Use]:
    """What the hostile guest's forwarder takes now."""
    pid = json.loads(attacker.control("GET", "/status")[1])["pid"]
    return lambda: Use.of(pid)


@pytest.fixture
def nobody_notices(attacker: Guest, nobody_waits: NobodyWaits) -> NobodyWaits:
    """As ``nobody_waits``, and the daemon itself answers others in its turn."""

    @contextlib.contextmanager
    def block() -> Iterator[None]:
        late, ended = [0.0], threading.Event()

        def ask() -> None:
            while not ended.wait(0.02):
                began = time.monotonic()
                attacker.control("GET", "/status")
                late.append(time.monotonic() - began)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            with nobody_waits():
                yield
        finally:
            ended.set()
            asking.join()
        print(f"the daemon answered within {max(late):.3f} s")
        assert max(late) < TURN

    return block


@pytest.fixture
def pretender(attacker: Guest, guest_root: Host) -> Callable[[str, float], AbstractContextManager[None]]:
    """Puts an engine of the attacker's in the place of the guest's own while a block runs."""

    @contextlib.contextmanager
    def block(kind: str, seconds: float) -> Iterator[None]:
        arguments = ("python3 -c %s %s %s", PRETENDER, str(seconds), kind)
        running = threading.Thread(target=guest_root.run, args=arguments)
        running.start()
        folder = f"/proc/{attacker.pid}/root/run/guest-services"
        try:
            eventually(lambda: "docker.sock.kept" in as_root("ls", folder), "the attacker's engine")
            yield
        finally:
            running.join()

    return block


@pytest.mark.parametrize("form", ["Binds", "Mounts"])
def test_a_path_without_end_is_refused(attacker: Guest, nobody_notices: NobodyWaits, form: str) -> None:
    source = "/" + "a/" * 400_000
    bind = f"{source}:/x" if form == "Binds" else {"Type": "bind", "Source": source, "Target": "/x"}
    with nobody_notices():
        status, text = created(attacker, {"Image": "portchain/probe", "HostConfig": {form: [bind]}})
    assert status == 403
    assert "4095 bytes" in text
    assert len(text) < 1000


def test_paths_as_long_as_they_may_be_hold_up_nobody(attacker: Guest, nobody_notices: NobodyWaits) -> None:
    binds = [f"/{'a/' * 2040}{index}:/x" for index in range(200)]
    with nobody_notices():
        assert created(attacker, {"Image": "portchain/probe", "HostConfig": {"Binds": binds}})[0] == 403


def test_bodies_that_never_end_share_one_budget(
    attacker: Guest, daemon: Callable[[], Use], nobody_notices: NobodyWaits
) -> None:
    before, size = daemon(), 16 * 1024 * 1024
    with nobody_notices(), ExitStack() as clients:
        for _ in range(120):
            client = clients.enter_context(connected(attacker))
            client.settimeout(1)
            with contextlib.suppress(OSError):
                client.sendall(CREATE + b"Content-Length: %d\r\n\r\n" % size)
                client.sendall(bytes(size - 1))
        assert daemon().memory - before.memory < MEMORY
        with connected(attacker) as client:
            client.sendall(CREATE + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}")
            assert status_of(client) == 400  # the engine's own: an ordinary request is served meanwhile


@pytest.mark.parametrize("kind", ["lists", "deep", "odd"])
def test_answers_of_an_engine_that_lies_are_errors_of_one_exchange(
    attacker: Guest,
    daemon: Callable[[], Use],
    nobody_notices: NobodyWaits,
    pretender: Callable[[str, float], AbstractContextManager[None]],
    kind: str,
) -> None:
    before, asked = daemon(), ("GET /containers/json", "GET /containers/x/json", "POST /containers/x/start")
    with pretender(kind, 6), nobody_notices():
        answers = [first_bytes(attacker, request) for request in asked]
        assert daemon().memory - before.memory < MEMORY
    assert b"[[" in answers[0] or b"NaN" in answers[0], "that was the attacker's engine"
    assert attacker.engine_says("/version")["Version"]


def test_a_container_of_many_ports_is_planned_beside_other_work(attacker: Guest, nobody_notices: NobodyWaits) -> None:
    bindings = {f"{port}/udp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}] for port in range(10_000, 20_001)}
    image = attacker.engine_says("/containers/json")[0]["ImageID"]
    create = {"Image": image, "HostConfig": {"PortBindings": bindings}}
    docker = str(attacker.run_dir / "docker.sock")
    with nobody_notices():
        status, body = blocking_client.request(docker, "POST", "/containers/create?name=many-ports", 60, create)
    assert status == 201, body
    with nobody_notices():
        answer = first_bytes(attacker, "GET /containers/many-ports/json")
        assert blocking_client.request(docker, "DELETE", "/containers/many-ports", 60)[0] == 204
    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_more_ports_than_a_container_can_have_are_refused(attacker: Guest, nobody_notices: NobodyWaits) -> None:
    bindings = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "1-65535"}] * 20_000}
    with nobody_notices():
        status, text = created(attacker, {"Image": "portchain/probe", "HostConfig": {"PortBindings": bindings}})
    assert (status, "at most 16384 ports" in text) == (400, True)


def test_the_daemon_s_memory_is_limited(attacker: Guest) -> None:
    pid = json.loads(attacker.control("GET", "/status")[1])["pid"]
    mounts, groups = Path("/proc/self/mountinfo").read_text(), Path(f"/proc/{pid}/cgroup").read_text()
    memory = read_memory([hierarchy.group("") for hierarchy in parse_hierarchies(mounts, groups)])
    if memory is None:
        pytest.skip("no memory controller here")
    assert memory.limit == 1 << 30
