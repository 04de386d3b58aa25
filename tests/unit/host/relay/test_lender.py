"""The relay's end of the channel, the test being the guest."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portchain.host.relay import lender as module
from portchain.host.relay import lent_sockets
from portchain.host.relay.discarding import Discarder
from portchain.host.relay.lender import Lender
from portchain.host.relay.lent_sockets import LEVEL
from portchain.net.dialling import Dialling
from portchain.net.loop import Loop
from portchain.ports.forward import Endpoint
from portchain.protocol.lending import KINDS, VERSION, Lend, Opened, Refused
from portchain.protocol.packets import Hello, Message, encode

DEADLINE = 5.0
TARGET = Endpoint("tcp", "127.0.0.1", 9)
SOCKET = Endpoint("unix", "/run/x.sock")


class Owner:
    """Notes what it is told of the guest and of dials."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.targets: list[socket.socket] = []

    def guest_connected(self, pid: int) -> None:
        self.told.append("connected" if pid == os.getpid() else f"connected {pid}")

    def guest_lost(self, reason: str) -> None:
        self.told.append("lost")

    def guest_gone(self) -> None:
        self.told.append("gone")

    def lent(self) -> None:
        self.told.append("lent")

    def connected(self, dial: Dialling, target: socket.socket) -> None:
        self.targets.append(target)
        dial.client.close()

    def failed(self, _dial: Dialling, reason: str) -> None:
        self.told.append(reason)

    def no_room(self) -> None:
        self.told.append("no room")


class Stage:
    """A lender with its loop, and guests that connect."""

    def __init__(self, path: Path) -> None:
        self.loop, self.owner, self._path = Loop(), Owner(), str(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(self._path)
        self._listener.listen()
        self.lender = Lender(self.loop, self._listener, self.owner, Discarder())
        self._sockets: list[socket.socket] = [self._listener]

    def guest(self, *packets: bytes) -> socket.socket:
        """Connect, and send hello and packets."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sockets.append(sock)
        sock.connect(self._path)
        sock.setblocking(False)
        for packet in (encode(Hello(VERSION)), *packets):
            sock.send(packet)
        return sock

    def greeted_guest(self) -> socket.socket:
        """Connect until the lender knows of it."""
        count = self.owner.told.count("connected")
        sock = self.guest()
        self.run(lambda: self.owner.told.count("connected") > count)
        return sock

    def run(self, condition: Callable[[], object]) -> None:
        """Run the loop until a condition is true."""
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, self.owner.told
            self.loop.run_once(0.01)

    def receive(self, guest: socket.socket, kind: str) -> dict[str, Any]:
        """The next message of a kind; none comes with descriptors."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            with contextlib.suppress(BlockingIOError):
                data, control, _, _ = guest.recvmsg(65536, 4096)
                assert control == []
                found.append(json.loads(data))
            return bool(found) and found[-1]["type"] == kind

        self.run(look)
        return found[-1]

    def close(self) -> None:
        for sock in (*self._sockets, *self.owner.targets):
            sock.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A lender without a guest."""
    stage = Stage(tmp_path / "channel")
    yield stage
    stage.close()


def lend(guest: socket.socket, kind: str = "tcp4", count: int = 1, message: Message | None = None) -> None:
    sockets = [socket.socket(*KINDS[kind]) for _ in range(count)]
    socket.send_fds(guest, [encode(message or Lend(kind))], [sock.fileno() for sock in sockets])
    for sock in sockets:
        sock.close()


def closed(guest: socket.socket) -> bool:
    """Whether the lender has closed the connection; what it said before is read."""
    try:
        while guest.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


def test_sockets_are_asked_for_and_taken(stage: Stage) -> None:
    assert not stage.lender.ready(TARGET)
    guest = stage.greeted_guest()
    assert not stage.lender.ready(TARGET), "none is there yet"
    assert stage.receive(guest, "want") == {"type": "want", "kind": "tcp4", "count": LEVEL}
    lend(guest, count=LEVEL)
    stage.run(lambda: "lent" in stage.owner.told)
    assert stage.lender.ready(TARGET)
    assert stage.lender.count(TARGET) == LEVEL
    stage.lender.take("tcp", socket.AF_INET).close()
    assert stage.lender.count(TARGET) == LEVEL - 1


@pytest.mark.parametrize(
    "packet",
    [
        b"nonsense",
        b"",
        encode(Hello(VERSION)),
        encode(Lend("raw4")),
        b'{"type": "want", "kind": "tcp4", "count": 1}',
        b'{"type": "opened", "id": -1}',
    ],
)
def test_nonsense_ends_the_channel_and_the_next_one_is_served(stage: Stage, packet: bytes) -> None:
    guest = stage.guest(packet)
    stage.run(lambda: closed(guest))
    assert not stage.lender.connected
    again = stage.greeted_guest()
    assert stage.lender.connected
    assert not closed(again)


@pytest.mark.parametrize("message", [Hello(VERSION), Refused(0, "x"), Opened(0), Lend("udp4")])
def test_sockets_with_any_other_message_are_closed(stage: Stage, message: Message) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    guest = stage.guest()
    lend(guest, count=100, message=message)
    stage.run(lambda: closed(guest))
    guest.close()
    stage.run(lambda: len(os.listdir("/proc/self/fd")) <= before)  # noqa: PTH208


def test_a_newer_guest_replaces_an_older_one_with_all_it_lent(stage: Stage) -> None:
    older = stage.greeted_guest()
    lend(older)
    stage.run(lambda: "lent" in stage.owner.told)
    newer = stage.greeted_guest()
    stage.run(lambda: closed(older))
    assert not closed(newer)
    assert stage.lender.count(TARGET) == 0
    assert stage.owner.told == ["connected", "lent", "lost", "connected"]


def test_sockets_of_another_network_end_the_connections_into_the_one_before(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookies = iter([5, 5, 0, 6, 6])
    monkeypatch.setattr(lent_sockets, "network_cookie", lambda _: next(cookies))
    guest = stage.greeted_guest()
    for count in range(1, 6):
        lend(guest)
        stage.run(lambda count=count: stage.owner.told.count("lent") == count)
    assert stage.owner.told == ["connected", "lent", "lent", "lent", "gone", "lent", "lent"]


def test_connections_end_once_the_guest_has_been_away_for_too_long(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.3)
    for _ in range(2):
        stage.greeted_guest().close()
        stage.run(lambda: not stage.lender.connected)
    began = time.monotonic()
    stage.run(lambda: "gone" in stage.owner.told)
    assert time.monotonic() - began > 0.2
    assert stage.owner.told == ["connected", "lost", "connected", "lost", "gone"]


def test_connections_stay_if_the_guest_is_back_in_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.3)
    stage.greeted_guest().close()
    stage.run(lambda: not stage.lender.connected)
    stage.greeted_guest()
    end = time.monotonic() + 0.5
    stage.run(lambda: time.monotonic() > end)
    assert "gone" not in stage.owner.told


def test_the_guest_connects_unix_sockets(stage: Stage) -> None:
    guest = stage.greeted_guest()
    assert stage.lender.ready(SOCKET)
    client, _ = socket.socketpair()
    stage.lender.dial(client, SOCKET, stage.owner).start()
    assert stage.receive(guest, "open") == {"type": "open", "id": 0, "target": "/run/x.sock"}
    one, other = socket.socketpair()
    socket.send_fds(guest, [encode(Opened(0))], [one.fileno()])
    stage.run(lambda: stage.owner.targets)
    other.send(b"x")
    assert stage.owner.targets[0].recv(1) == b"x"
    socket.send_fds(guest, [encode(Opened(0))], [one.fileno()])  # once more: nobody waits for it
    one.close()
    stage.owner.targets.pop().close()
    other.setblocking(False)

    def ended() -> bool:
        try:
            return other.recv(1) == b""
        except BlockingIOError:
            return False

    stage.run(ended)


def test_a_guest_that_opens_nothing_fails_the_clients(stage: Stage) -> None:
    guest = stage.greeted_guest()
    client, peer = socket.socketpair()
    stage.lender.dial(client, SOCKET, stage.owner).start()
    stage.receive(guest, "open")
    guest.send(encode(Refused(0, "\x1bno")))
    stage.run(lambda: "?no" in stage.owner.told)
    assert peer.recv(1) == b""


def test_a_guest_that_does_not_read_is_disconnected(stage: Stage) -> None:
    stage.greeted_guest()
    for _ in range(4 * module.MAX_OPENING):
        if stage.lender.connected:
            stage.lender.dial(socket.socketpair()[0], SOCKET, stage.owner).start()
    assert not stage.lender.connected
    assert not stage.lender.ready(SOCKET)


def test_a_guest_whose_files_cannot_be_closed_may_not_connect(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Discarder, "full", True)
    guest = stage.guest()
    end = time.monotonic() + 0.3
    stage.run(lambda: time.monotonic() > end)
    assert not stage.lender.connected
    monkeypatch.setattr(Discarder, "full", False)
    stage.run(lambda: stage.lender.connected)
    assert not closed(guest)
