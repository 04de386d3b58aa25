"""A splice that another holder of the socket lets block ends, and no other one does."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from portchain.net import splicing
from portchain.net.pipes import PIPE_SIZE
from portchain.net.splicing import splice

TICK = 0.1


@pytest.fixture
def _ticking() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    splicing.end_blocked_calls(TICK)
    yield
    signal.setitimer(signal.ITIMER_REAL, *before[1])
    signal.signal(signal.SIGALRM, before[0])


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe that does not block: reader and writer."""
    reader, writer = os.pipe2(os.O_NONBLOCK)
    yield reader, writer
    os.close(reader)
    os.close(writer)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two tcp sockets that are connected, and block."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    with one, other:
        yield one, other


@pytest.mark.usefixtures("_ticking")
def test_a_splice_from_a_socket_that_blocks_and_has_nothing_ends(
    pipe: tuple[int, int], pair: tuple[socket.socket, socket.socket]
) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="made the socket block"):
        splice(pair[0].fileno(), pipe[1], PIPE_SIZE)
    assert time.monotonic() - began < 5 * TICK
    pair[1].send(b"x")
    assert splice(pair[0].fileno(), pipe[1], PIPE_SIZE) == 1, "the next one is none the worse"


@pytest.mark.usefixtures("_ticking")
def test_a_splice_to_a_socket_that_blocks_and_is_full_ends(
    pipe: tuple[int, int], pair: tuple[socket.socket, socket.socket]
) -> None:
    sock = pair[0]
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            sock.send(bytes(65536))
    sock.setblocking(True)
    with pytest.raises(TimeoutError):
        while True:
            os.write(pipe[1], bytes(4096))
            splice(pipe[0], sock.fileno(), 4096)


@pytest.mark.usefixtures("_ticking")
def test_a_connection_that_moves_is_left_alone(
    pipe: tuple[int, int], pair: tuple[socket.socket, socket.socket]
) -> None:
    for sock in pair:
        sock.setblocking(False)
    end = time.monotonic() + 5 * TICK
    moved = 0
    while time.monotonic() < end:
        pair[1].send(bytes(4096))
        moved += splice(pair[0].fileno(), pipe[1], PIPE_SIZE)
        while os.read(pipe[0], 65536) == bytes(65536):
            pass
        with pytest.raises(BlockingIOError):
            splice(pair[0].fileno(), pipe[1], PIPE_SIZE)
    assert moved > 4096


@pytest.mark.usefixtures("_ticking")
def test_a_connect_that_blocks_ends(pair: tuple[socket.socket, socket.socket]) -> None:
    with socket.socket() as server, socket.socket() as sock:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(server.getsockname())  # beyond the backlog nobody answers
        sock.setblocking(False)
        os.set_blocking(sock.fileno(), True)  # as another holder would
        began = time.monotonic()
        assert sock.connect_ex(server.getsockname()) != 0
        assert time.monotonic() - began < 5 * TICK
        for client in waiting:
            client.close()
