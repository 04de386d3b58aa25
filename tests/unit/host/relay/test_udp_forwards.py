"""The udp forwards of a relay, the test being their clients and their target."""

from __future__ import annotations

import os
import resource
import select
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from portchain.host.relay.udp_forwards import UdpForwards
from portchain.net.datagram_clients import MAX_CLIENTS
from portchain.net.listening import close_listener, open_listener
from portchain.net.loop import Loop
from portchain.ports.forward import Endpoint
from portchain.protocol.handoff import Listen
from support.local_lender import LocalLender

DEADLINE = 5.0
ID = "udp:127.0.0.1:1"


class Clock:
    """A clock that stands still but for the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Stage:
    """One forward to a server on 127.0.0.1; its clients wait for answers while the loop runs."""

    def __init__(self, idle: float = 60, clock: Callable[[], float] = time.monotonic) -> None:
        self.loop = Loop()
        self.lender = LocalLender()
        self.forwards = UdpForwards(self.loop, self.lender, lambda: None, idle, clock)  # type: ignore[arg-type]
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.server.bind(("127.0.0.1", 0))
        self.server.setblocking(False)
        self.listener = open_listener(Endpoint("udp", "127.0.0.1", 0), os.getuid())
        self.serve()

    def serve(self) -> None:
        message = Listen(ID, f"udp:127.0.0.1:{self.server.getsockname()[1]}")
        self.forwards.listen(message, os.dup(self.listener.fileno()))
        self.forwards.serve()

    def client(self, address: str = "127.0.0.1") -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, 0))
        sock.connect(self.listener.getsockname())
        sock.setblocking(False)
        return sock

    def run(self, until: Callable[[], bool]) -> None:
        end = time.monotonic() + DEADLINE
        while not until():
            assert time.monotonic() < end
            self.loop.run_once(0.005)

    def heard(self, sock: socket.socket) -> tuple[bytes, tuple[str, int]]:
        self.run(lambda: bool(select.select([sock], [], [], 0)[0]))
        data, peer = sock.recvfrom(70_000)
        return data, peer

    def close(self) -> None:
        self.forwards.close(ID)
        self.loop.run_once(0)
        self.listener.close()
        self.server.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def test_each_client_has_a_socket_until_it_is_idle() -> None:
    clock = Clock()
    stage = Stage(0.04, clock)
    with stage.client() as one, stage.client() as other:
        peers = []
        for client, text in ((one, b"hello 1"), (other, b"hello 22"), (one, b"hello 333")):
            client.send(text)
            data, peer = stage.heard(stage.server)
            assert data == text
            peers.append(peer)
        assert peers[0] == peers[2] != peers[1]
        stage.server.sendto(b"answer", peers[1])
        assert stage.heard(other)[0] == b"answer"
        (counters,) = stage.forwards.counters()
        assert (counters.connections, counters.active, counters.received, counters.sent) == (2, 2, 24, 6)
        clock.now += 1
        stage.run(lambda: any(told.active == 0 for told in stage.forwards.counters()))
        assert not stage.forwards.busy
        one.send(b"again")
        assert stage.heard(stage.server)[1] != peers[0]
    stage.close()


def test_clients_of_one_forward_do_not_get_each_others_answers(stage: Stage) -> None:
    clients = [stage.client() for _ in range(50)]
    for number, client in enumerate(clients):
        client.send(b"%d" % number)
    for _ in clients:
        data, peer = stage.heard(stage.server)
        stage.server.sendto(data, peer)
    for number, client in enumerate(clients):
        assert stage.heard(client)[0] == b"%d" % number
        client.close()


def test_datagrams_wait_until_the_guest_lends(stage: Stage) -> None:
    stage.lender.stock = 0
    with stage.client() as client:
        client.send(b"waits")
        for _ in range(20):
            stage.loop.run_once(0.005)
        stage.lender.stock = 1
        assert stage.heard(stage.server)[0] == b"waits"
    assert stage.lender.stock == 0


def test_a_client_that_has_its_socket_goes_on_while_the_guest_lends_none(stage: Stage) -> None:
    with stage.client() as known, stage.client() as new:
        known.send(b"1")
        stage.heard(stage.server)
        stage.lender.stock = 0
        new.send(b"lost")
        known.send(b"2")
        assert stage.heard(stage.server)[0] == b"2"
        (counters,) = stage.forwards.counters()
        assert (counters.dropped, counters.error) == (1, "")


def test_clients_stay_while_the_forwarder_is_away(stage: Stage) -> None:
    with stage.client() as client:
        client.send(b"before")
        peer = stage.heard(stage.server)[1]
        stage.forwards.close_listeners()
        stage.loop.run_once(0)
        stage.serve()
        stage.server.sendto(b"late answer", peer)
        assert stage.heard(client)[0] == b"late answer"
        client.send(b"after")
        assert stage.heard(stage.server) == (b"after", peer)


def test_no_client_is_taken_for_a_new_one_before_the_known_ones_have_come(stage: Stage) -> None:
    with stage.client() as client:
        client.send(b"before")
        peer = stage.heard(stage.server)[1]
        ((name, raw, sock),) = stage.forwards.suspend()
        after = Stage()
        after.forwards.close_listeners()
        message = Listen(ID, f"udp:127.0.0.1:{stage.server.getsockname()[1]}")
        after.forwards.listen(message, os.dup(stage.listener.fileno()))
        client.send(b"after")
        for _ in range(20):
            after.loop.run_once(0.005)
        after.forwards.resume(name, raw, os.dup(sock.fileno()))
        after.forwards.serve()
        after.run(lambda: bool(select.select([stage.server], [], [], 0)[0]))
        assert stage.server.recvfrom(100) == (b"after", peer)
        after.close()


def test_a_client_that_nobody_answers_is_told_of_and_a_refused_one_too(stage: Stage) -> None:
    with stage.client() as client:
        client.send(b"x")
        peer = stage.heard(stage.server)[1]
        stage.run(lambda: bool(stage.lender.unanswered))
        (flow,) = stage.lender.unanswered
        assert (flow.source, flow.refused) == (f"udp:{peer[0]}:{peer[1]}", 0)
        stage.server.close()
        client.send(b"y")
        stage.run(lambda: stage.lender.unanswered[-1].refused == 1)
        told = [told.error for told in stage.forwards.counters() if told.error]
        assert told == [f"guest: sending to {flow.target}: Connection refused"]


def test_a_flood_of_clients_costs_bounded_memory_and_the_latest_are_served(stage: Stage) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(MAX_CLIENTS + 500):
        with stage.client(f"127.9.{number >> 8}.{number & 255}") as client:
            client.send(b"x")
            stage.heard(stage.server)
    (counters,) = stage.forwards.counters()
    assert counters.active == MAX_CLIENTS
    with stage.client() as client:
        client.send(b"x")
        _, peer = stage.heard(stage.server)
        stage.server.sendto(b"served", peer)
        assert stage.heard(client)[0] == b"served"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 16 * 1024, f"{grown} KiB"


def test_a_server_that_does_not_read_has_its_datagrams_dropped(stage: Stage) -> None:
    with stage.client() as client:
        for _ in range(100):
            for _ in range(10):
                client.send(bytes(60_000))
            stage.loop.run_once(0.001)
        (counters,) = stage.forwards.counters()
        assert counters.received <= 60_000_000
        while stage.server in select.select([stage.server], [], [], 0)[0]:
            stage.server.recv(70_000)
        client.send(b"after")
        assert stage.heard(stage.server)[0] == b"after"


def test_the_endpoint_of_a_closed_forward_can_be_bound_before_the_relay_has_let_go(stage: Stage) -> None:
    name = stage.listener.getsockname()
    close_listener(stage.listener)
    endpoint = Endpoint("udp", *name)
    with open_listener(endpoint, os.getuid(), released=True) as again:
        assert again.getsockname() == name
        assert again.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
