"""Each end of a udp forward by itself, the test being the other one."""

from __future__ import annotations

import array
import asyncio
import contextlib
import functools
import os
import resource
import select
import socket
import struct
import time
from collections.abc import Callable, Coroutine, Iterator

import pytest

from portchain.guest.services.vpnkit_forwarder.udp_dialer import UdpDialer
from portchain.host.forwarder.udp_listener import UdpListener
from portchain.net.datagram_clients import MAX_CLIENTS
from portchain.net.listening import open_listener
from portchain.net.loop import Loop
from portchain.ports.forward import Endpoint
from portchain.protocol.handoff import Listen

DEADLINE = 5.0


class Clock:
    """A clock that stands still but for the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Host:
    """A listener, and the guest's end of its pair."""

    def __init__(self, idle: float, clock: Callable[[], float] = time.monotonic) -> None:
        sock = open_listener(Endpoint("udp", "127.0.0.1", 0), os.getuid())
        self.address = sock.getsockname()
        self.listener = UdpListener(sock, idle, clock)
        self.pair = socket.socket(fileno=os.dup(self.listener.descriptor()))
        self.pair.setblocking(False)
        self.listener.handed_over()

    async def hears(self) -> tuple[int, bytes]:
        """The next packet, as client's id and payload."""
        packet = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.pair, 70_000), DEADLINE)
        return struct.unpack("=I", packet[:4])[0], packet[4:]

    def says(self, number: int, payload: bytes) -> None:
        self.pair.send(struct.pack("=I", number) + payload)

    async def until(self, check: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not check():
                await asyncio.sleep(0.005)

    def close(self) -> None:
        self.listener.close()
        self.pair.close()


def in_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Run a test in an event loop."""

    @functools.wraps(test)
    def run(**fixtures: object) -> None:
        asyncio.run(test(**fixtures))

    return run


def client(address: tuple[str, int]) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(address)
    sock.setblocking(False)
    return sock


async def heard(sock: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 70_000), DEADLINE)


@in_loop
async def test_what_the_guest_makes_up_reaches_nobody() -> None:
    host = Host(idle=60)
    with client(host.address) as sock, client(host.address) as silent, contextlib.closing(host):
        sock.send(b"x")
        number, _ = await host.hears()
        with contextlib.suppress(OSError):
            host.pair.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        made_up = [b"\1", b"\1\2\3", struct.pack("=I", number + 1) + b"no", b"\xff" * 70_000]
        for packet in made_up:
            host.pair.send(packet)
        reader, writer = os.pipe()
        host.pair.sendmsg(
            [struct.pack("=I", number) + b"with a descriptor"],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writer]))],
        )
        os.close(writer)
        assert await heard(sock) == b"with a descriptor"
        assert os.read(reader, 1) == b"", "the descriptor was let go"
        os.close(reader)
        host.says(number, bytes(65_520))  # more than IPv4 carries
        host.says(number, b"still there")
        assert await heard(sock) == b"still there"
        assert host.listener.dropped == len(made_up) + 1
        with pytest.raises(BlockingIOError):
            silent.recv(1)


@in_loop
async def test_a_guest_that_ends_the_pair_is_left_alone() -> None:
    host = Host(idle=60)
    with client(host.address) as sock, contextlib.closing(host):
        host.pair.shutdown(socket.SHUT_RDWR)
        await asyncio.sleep(0.05)
        sock.send(b"waits")
        host.pair = socket.socket(fileno=os.dup(host.listener.descriptor()))
        host.pair.setblocking(False)
        assert (await host.hears())[1] == b"waits"


@in_loop
async def test_idle_clients_leave_and_others_stay() -> None:
    clock = Clock()
    host = Host(0.04, clock)
    with client(host.address) as idle, client(host.address) as busy, contextlib.closing(host):
        idle.send(b"x")
        gone, _ = await host.hears()
        busy.send(b"x")
        kept, _ = await host.hears()
        for _ in range(8):
            clock.now += 0.01
            await asyncio.sleep(0.02)  # in which the listener looks twice
            host.says(kept, b"y")
            assert await heard(busy) == b"y"
        host.says(gone, b"too late")
        await host.until(lambda: host.listener.dropped == 1)
        idle.send(b"x")
        assert (await host.hears())[0] not in (gone, kept)


@in_loop
async def test_a_guest_that_does_not_read_costs_a_bounded_queue() -> None:
    host = Host(idle=60)
    with client(host.address) as sock, contextlib.closing(host):
        sock.setblocking(True)
        for _ in range(20):
            for _ in range(50):
                sock.send(bytes(8192))
            await asyncio.sleep(0.003)
        await host.until(lambda: host.listener.dropped > 0)
        queued = 0
        with contextlib.suppress(BlockingIOError):
            while host.pair.recv(70_000):
                queued += 1
        assert 10 < queued < 1000 - host.listener.dropped + 1
        sock.send(b"after")
        while (await host.hears())[1] != b"after":
            pass


@in_loop
async def test_a_flood_of_clients_costs_bounded_memory_and_the_latest_are_served() -> None:
    host = Host(idle=60)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.closing(host):
        for number in range(MAX_CLIENTS + 500):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((f"127.9.{number >> 8}.{number & 255}", 0))
                sock.sendto(b"x", host.address)
                await host.hears()
        with client(host.address) as sock:
            sock.send(b"x")
            number, _ = await host.hears()
            host.says(number, b"served")
            assert await heard(sock) == b"served"
        host.says(1, b"made way")
        await host.until(lambda: host.listener.dropped > 0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 16 * 1024, f"{grown} KiB"


@pytest.fixture
def loop() -> Iterator[Loop]:
    yield Loop()


class Guest:
    """A dialer, and the host's end of its pair."""

    def __init__(self, loop: Loop, target: str, idle: float = 60, clock: Callable[[], float] = time.monotonic) -> None:
        self._loop = loop
        self.pair, guests_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pair.setblocking(False)
        self.dialer = UdpDialer(loop, lambda: None, idle, clock)
        self.dialer.listen(Listen("udp::1", target), guests_end.detach())

    def run(self, until: Callable[[], bool]) -> None:
        end = time.monotonic() + DEADLINE
        while not until():
            assert time.monotonic() < end
            self._loop.run_once(0.005)

    def says(self, number: int, payload: bytes) -> None:
        self.pair.send(struct.pack("=I", number) + payload)


def heard_by(sock: socket.socket) -> Callable[[], bool]:
    return lambda: bool(select.select([sock], [], [], 0)[0])


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def test_each_client_has_a_socket_until_it_is_idle(loop: Loop, server: socket.socket) -> None:
    clock = Clock()
    guest = Guest(loop, f"udp:127.0.0.1:{server.getsockname()[1]}", 0.04, clock)
    peers = []
    for number in (7, 0xFFFFFFFF, 7):
        guest.says(number, b"hello %d" % number)
        guest.run(heard_by(server))
        data, peer = server.recvfrom(100)
        assert data == b"hello %d" % number
        peers.append(peer)
    assert peers[0] == peers[2] != peers[1]
    server.sendto(b"answer", peers[1])
    guest.run(heard_by(guest.pair))
    assert guest.pair.recv(100) == b"\xff\xff\xff\xffanswer"
    (counters,) = guest.dialer.counters()
    assert (counters.connections, counters.active, counters.received, counters.sent) == (2, 2, 30, 6)
    clock.now += 1
    guest.run(lambda: any(told.active == 0 for told in guest.dialer.counters()))
    assert not guest.dialer.busy


def test_a_host_that_does_not_read_has_its_answers_dropped(loop: Loop, server: socket.socket) -> None:
    guest = Guest(loop, f"udp:127.0.0.1:{server.getsockname()[1]}")
    guest.says(1, b"x")
    guest.run(heard_by(server))
    _, peer = server.recvfrom(10)
    said = sent = dropped = 0

    def accounted() -> bool:
        nonlocal sent, dropped
        for told in guest.dialer.counters():
            sent += told.sent
            dropped += told.dropped
        return sent == (said - dropped) * 60_000

    for _ in range(20):
        for _ in range(10):
            server.sendto(bytes(60_000), peer)
        said += 10
        guest.run(accounted)
    assert dropped > 100


def test_nonsense_from_the_host_and_its_end_are_borne(loop: Loop, server: socket.socket) -> None:
    guest = Guest(loop, f"udp:127.0.0.1:{server.getsockname()[1]}")
    guest.pair.send(b"\1\2")
    guest.says(1, b"x")
    guest.run(heard_by(server))
    assert server.recv(10) == b"x"
    guest.pair.close()
    guest.run(lambda: not guest.dialer.busy)
