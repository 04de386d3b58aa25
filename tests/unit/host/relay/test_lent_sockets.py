"""What a guest lends is taken in if it is what was asked for, and closed or left to be closed otherwise."""

from __future__ import annotations

import errno
import os
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Iterator

import pytest

from portchain.host.relay.discarding import MAX_WAITING, Discarder
from portchain.host.relay.lent_sockets import LEVEL, LentSockets, network_cookie, take_socket
from portchain.protocol.lending import KINDS, MAX_LENT
from portchain.protocol.packets import ProtocolError
from support.waiting import eventually

LINGER = struct.pack("ii", 1, 3600)


@pytest.fixture
def sockets() -> Iterator[LentSockets]:
    """A pool, emptied after the test."""
    sockets = LentSockets()
    yield sockets
    sockets.clear()


def lend(kind: str, count: int = 1) -> list[int]:
    """Descriptors of new sockets of a kind."""
    return [socket.socket(*KINDS[kind]).detach() for _ in range(count)]


def close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_lent_is_taken_once_and_does_not_block(sockets: LentSockets, kind: str) -> None:
    (descriptor,) = descriptors = lend(kind)
    os.set_blocking(descriptor, True)
    cookie = sockets.add(kind, descriptors)
    assert descriptors == []
    assert sockets.count(kind) == 1
    with sockets.take(kind) as sock:
        assert cookie == network_cookie(sock)
        assert (sock.family, sock.type, sock.proto) == KINDS[kind]
        assert not os.get_blocking(sock.fileno())
    with pytest.raises(OSError, match=f"no {kind} socket") as raised:
        sockets.take(kind)
    assert raised.value.errno == errno.ENOBUFS


def test_few_sockets_are_asked_for_once(sockets: LentSockets) -> None:
    assert sockets.shortage("tcp4") == LEVEL
    assert sockets.shortage("tcp4") == 0, "they are on their way"
    sockets.add("tcp4", lend("tcp4", LEVEL))
    for _ in range(LEVEL // 2 - 1):
        sockets.take("tcp4").close()
    assert sockets.shortage("tcp4") == 0
    sockets.take("tcp4").close()
    assert sockets.shortage("tcp4") == LEVEL // 2
    sockets.clear()
    assert sockets.shortage("tcp4") == LEVEL


def test_no_more_are_kept_than_are_asked_for(sockets: LentSockets) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(5):
        sockets.add("udp6", lend("udp6", MAX_LENT))
    assert sockets.count("udp6") == LEVEL
    assert len(os.listdir("/proc/self/fd")) - before <= LEVEL + 1  # noqa: PTH208
    descriptors = lend("udp6", MAX_LENT + 1)
    with pytest.raises(ProtocolError, match="of at most"):
        sockets.add("udp6", descriptors)
    close(descriptors)


def test_an_unknown_kind_is_refused(sockets: LentSockets) -> None:
    descriptors = lend("tcp4")
    with pytest.raises(ProtocolError, match="no kind of socket 'sctp'"):
        sockets.add("sctp", descriptors)
    close(descriptors)


def listening() -> int:
    return socket.create_server(("127.0.0.1", 0)).detach()


OTHERS = {
    "a file": lambda: os.open("/dev/null", os.O_RDONLY),
    "a folder": lambda: os.open("/", os.O_RDONLY),
    "memory": lambda: os.memfd_create("x"),
    "a listener": listening,
    "tcp6": lambda: lend("tcp6")[0],
    "udp4": lambda: lend("udp4")[0],
    "unix": lambda: socket.socket(socket.AF_UNIX).detach(),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).detach(),
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_no_tcp_socket_is_refused_and_left_with_the_rest(sockets: LentSockets, other: str) -> None:
    descriptors = [*lend("tcp4", 2), OTHERS[other](), *lend("tcp4", 2)]
    kept = descriptors[2:]
    with pytest.raises(ProtocolError, match=r"no socket|of another kind"):
        sockets.add("tcp4", descriptors)
    assert descriptors == kept
    close(descriptors)  # none has been closed


def test_mptcp_is_another_kind(sockets: LentSockets) -> None:
    try:
        descriptors = [socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).detach()]
    except OSError:
        pytest.skip("no MPTCP here")
    with pytest.raises(ProtocolError, match="of another kind"):
        sockets.add("tcp4", descriptors)
    close(descriptors)


def test_a_connected_unix_socket_is_taken_and_a_listening_one_is_not() -> None:
    one, other = socket.socketpair()
    with other, take_socket(one.detach(), socket.AF_UNIX, socket.SOCK_STREAM, 0) as taken:
        other.send(b"x")
        assert taken.recv(1) == b"x"
    with socket.socket(socket.AF_UNIX) as listener, tempfile.TemporaryDirectory() as folder:
        listener.bind(f"{folder}/sock")
        listener.listen()
        with pytest.raises(ProtocolError, match="of another kind"):
            take_socket(listener.fileno(), socket.AF_UNIX, socket.SOCK_STREAM, 0)


def test_closing_does_not_wait_however_long_a_socket_is_to_linger(sockets: LentSockets) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        full = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
    full.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            full.send(bytes(65536))
    full.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    sockets.add("tcp4", [full.detach()])
    began = time.monotonic()
    sockets.clear()
    assert time.monotonic() - began < 1
    peer.close()


def test_discarded_descriptors_are_closed_beside_whoever_discards_them(monkeypatch: pytest.MonkeyPatch) -> None:
    discarder, (reader, writer) = Discarder(), os.pipe()
    discarder.close_all([writer])
    assert os.read(reader, 1) == b""
    release, closed = threading.Event(), list[int]()

    def slow(descriptor: int) -> None:
        release.wait(5)
        closed.append(descriptor)

    monkeypatch.setattr(socket, "close", slow)
    discarder.close_all([-1] * MAX_WAITING)
    assert not closed
    discarder.close_all([-1] * 2)
    assert discarder.full
    release.set()
    eventually(lambda: len(closed) > MAX_WAITING, "all to be closed")
    assert not discarder.full
    os.close(reader)
