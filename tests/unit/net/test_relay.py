"""A relay whose sockets somebody else has, too, and uses: it ends the connection, and never turns round and round."""

from __future__ import annotations

import ctypes
import socket
import time
from collections.abc import Callable, Iterator
from select import EPOLLHUP, EPOLLIN

import pytest

from portchain.net.loop import Loop
from portchain.net.relay import BUFFER_SIZE, Meter, Relay

DEADLINE = 5.0
SO_TIMESTAMPING, TX_SOFTWARE, SOFTWARE = 37, 1 << 1, 1 << 4
libc = ctypes.CDLL(None, use_errno=True)


class Stage:
    """A relay, its client, its target's server, and a duplicate of its socket to the target."""

    def __init__(self) -> None:
        self.loop, self.closed, self.rounds = Loop(), False, 0
        self.client, client = connected()
        target, self.server = connected()
        self.duplicate = target.dup()
        for sock in (client, target):
            sock.setblocking(False)
        self.meters = (Meter(), Meter())
        self.relay = Relay(self.loop, client, target, self.meters, self._on_close)

    def _on_close(self, _: Relay) -> None:
        self.closed = True

    def run(self, condition: Callable[[], object]) -> None:
        """Run the loop until a condition is true."""
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end
            self.loop.run_once(0.02)

    def rounds_in(self, seconds: float) -> int:
        """How often the loop turns within some time if nothing happens."""
        end, rounds = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            self.loop.run_once(seconds)
            rounds += 1
        return rounds

    def close(self) -> None:
        self.relay.close()
        self.loop.run_once(0)
        for sock in (self.client, self.server, self.duplicate):
            sock.close()


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        return one, server.accept()[0]


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A relay between two connections."""
    stage = Stage()
    yield stage
    stage.close()


def disconnect(stage: Stage) -> None:
    assert libc.connect(stage.duplicate.fileno(), bytes(16), 16) == 0


def queue_an_error(stage: Stage) -> None:
    stage.duplicate.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TX_SOFTWARE | SOFTWARE)
    stage.duplicate.send(b"x")


def shut(stage: Stage) -> None:
    stage.duplicate.shutdown(socket.SHUT_RDWR)


def take_it(stage: Stage) -> None:
    stage.server.send(b"x")
    stage.duplicate.recv(1)


@pytest.mark.parametrize("meddle", [disconnect, queue_an_error, shut, take_it])
def test_whatever_is_done_to_a_socket_the_loop_rests(stage: Stage, meddle: Callable[[Stage], None]) -> None:
    meddle(stage)
    assert stage.rounds_in(0.3) < 20


@pytest.mark.parametrize("meddle", [disconnect, queue_an_error])
def test_a_connection_that_cannot_go_on_ends(stage: Stage, meddle: Callable[[Stage], None]) -> None:
    meddle(stage)
    stage.run(lambda: stage.closed)


def test_urgent_data_is_left_out_and_does_not_keep_the_loop_busy(stage: Stage) -> None:
    stage.client.sendall(bytes(4 * BUFFER_SIZE))
    received = 0
    while received < 4 * BUFFER_SIZE:  # the relay splices by now
        stage.loop.run_once(0)
        stage.server.setblocking(False)
        try:
            received += len(stage.server.recv(1 << 20))
        except BlockingIOError:
            continue
    stage.client.send(b"!", socket.MSG_OOB)
    assert stage.rounds_in(0.3) < 20
    stage.client.send(b"after")
    stage.run(lambda: stage.meters[0].bytes == 4 * BUFFER_SIZE + len(b"after"))
    assert stage.server.recv(10) == b"after"


def test_an_event_older_than_the_wish_to_read_ends_nothing(stage: Stage) -> None:
    end = stage.relay._target
    end._watch(EPOLLIN)
    end.ready(EPOLLHUP)  # as it is if reading began again in the same round
    stage.server.send(b"the rest")
    stage.run(lambda: stage.meters[1].bytes)
    assert stage.client.recv(10) == b"the rest"
    assert not stage.closed
