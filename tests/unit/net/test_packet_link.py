"""Messages wait in order while the other side does not read, and nothing is lost or kept open."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from portchain.net.loop import Loop
from portchain.net.packet_link import PacketLink
from portchain.protocol.lending import VERSION, Lend, Refused, Want, from_guest, from_host
from portchain.protocol.packets import Hello, Message, PacketConnection


class Owner:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.received: list[Message] = []
        self.losses: list[str] = []

    def receive(self, message: Message, _descriptors: list[int]) -> None:
        self.received.append(message)

    def lost(self, reason: str) -> None:
        self.losses.append(reason)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, PacketConnection]]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setblocking(False)
    far.setblocking(False)
    with near, far:
        yield near, PacketConnection(far, from_guest(), 1)


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def link(loop: Loop, owner: Owner, ends: tuple[socket.socket, PacketConnection]) -> PacketLink:
    return PacketLink(loop, PacketConnection(ends[0], from_host()), owner, "the relay")


@pytest.fixture
def far(ends: tuple[socket.socket, PacketConnection]) -> PacketConnection:
    return ends[1]


def fill(link: PacketLink) -> int:
    """Send until a message waits; return how many were sent."""
    link.send(Hello(VERSION))
    for number in range(10_000):
        link.send(Refused(number, "x" * 1000))
        if not link.clear:
            return number + 1
    raise AssertionError("the socket is never full")


def test_what_waits_is_sent_in_order_and_nothing_is_read_meanwhile(
    loop: Loop, owner: Owner, link: PacketLink, far: PacketConnection
) -> None:
    count = fill(link)
    far.send(Hello(VERSION))
    far.send(Want("tcp4", 1))
    loop.run_once(0)
    assert owner.received == []
    assert isinstance(far.receive()[0], Hello)
    numbers = []
    while len(numbers) < count:
        message = far.receive()[0]
        assert isinstance(message, Refused)
        numbers.append(message.id)
        loop.run_once(0)
    assert numbers == list(range(count))
    assert link.clear
    for _ in range(2):
        loop.run_once(0)
    assert owner.received == [Hello(VERSION), Want("tcp4", 1)]


def test_a_socket_is_the_other_sides_once_it_is_sent(link: PacketLink, far: PacketConnection) -> None:
    link.send(Hello(VERSION))
    mine = socket.socket()
    link.send(Lend("tcp4"), [mine])
    assert mine.fileno() == -1
    far.receive()
    (theirs,) = far.receive()[1]
    os.close(theirs)


def test_what_is_not_sent_is_closed_with_the_link(loop: Loop, owner: Owner, link: PacketLink) -> None:
    fill(link)
    mine = socket.socket()
    link.send(Lend("tcp4"), [mine])
    assert mine.fileno() >= 0
    link.close()
    link.send(Hello(VERSION))
    loop.run_once(0)
    assert (mine.fileno(), owner.losses) == (-1, [])


def test_the_owner_is_told_once_why_the_link_is_lost(
    loop: Loop, owner: Owner, link: PacketLink, far: PacketConnection
) -> None:
    far.sock.close()
    loop.run_once(0)
    link.send(Hello(VERSION))
    assert owner.losses == ["the relay went away"]


def test_a_message_that_is_none_ends_the_link(
    loop: Loop, owner: Owner, link: PacketLink, far: PacketConnection
) -> None:
    link.send(Hello(VERSION))
    far.sock.send(b"nonsense")
    loop.run_once(0)
    assert owner.losses == ["message is not JSON"]


def test_the_rest_is_waited_for(link: PacketLink, far: PacketConnection) -> None:
    fill(link)
    with pytest.raises(TimeoutError):
        link.send_rest(0.01)
    while True:
        try:
            far.receive()
        except BlockingIOError:
            break
    assert link.send_rest(0.01) and link.clear
