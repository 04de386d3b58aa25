"""Pass datagrams between the clients of UDP forwards and their targets in the guest."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterator
from select import EPOLLIN

from ...net.datagram_batches import CONNECTED, PEER, SLOTS, Batch
from ...net.datagram_clients import IDLE_SECONDS, RecentlyUsed, reply_peer
from ...net.loop import Loop
from ...net.socket_address import socket_address
from ...net.tally import Tally
from ...ports.forward import Endpoint
from ...protocol.handoff import Counters, Listen
from .lender import Lender
from .unanswered_flows import UdpFlow, UnansweredFlows

_REFUSALS = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH)
PAUSE_SECONDS = 0.1
MAX_EMPTY = 10  # events in turn without a datagram: the guest has shut the socket down, or queues errors on it


class _Client:
    """A client's own socket in the guest; at most ``batch_size`` datagrams are read from it at once.

    ``reply`` is where answers go, in the form of `datagram_batches`.
    """

    __slots__ = ("batch_size", "empty", "flow", "peer", "reply", "sock")

    def __init__(self, peer: bytes, reply: bytes, sock: socket.socket) -> None:
        self.peer = peer
        self.reply = reply
        self.sock = sock
        self.flow = UdpFlow(sock)
        self.batch_size = 1
        self.empty = 0


class _AnswerBatch:
    """Collects the targets' answers of one round of the event loop, and sends those of one forward together."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._batch = Batch()
        self._packets: list[tuple[int, int]] = []
        self._forward: _UdpForward

    def take(self, client: _Client, forward: _UdpForward) -> None:
        """Read a client's answers, which are sent at the end of this round or before. Raise OSError."""
        if self._packets and (forward is not self._forward or len(self._packets) == SLOTS):
            self._flush()
        first = len(self._packets)
        limit = min(client.batch_size, SLOTS - first)
        sizes = self._batch.receive(client.sock, CONNECTED, first, limit)
        if len(sizes) == limit > 1 or client.batch_size == 1:
            client.batch_size = min(SLOTS, 2 * limit)
        else:
            client.batch_size = max(1, len(sizes))
        for slot, size in enumerate(sizes, first):
            self._batch.set_peer(slot, forward.view, client.reply)
            self._packets.append((slot, size))
        if not first:
            self._forward = forward
            self._loop.later(0, self._flush)

    def _flush(self) -> None:
        if self._packets:
            self._forward.answer(self._batch, self._packets)
            self._packets = []


class _UdpForward:
    """Passes datagrams between a socket of the host and one socket of the guest's a client, connected to the target."""

    def __init__(self, forwards: UdpForwards, name: str, target: Endpoint) -> None:
        self.target = target
        self.tally = Tally(name)
        self.clients: RecentlyUsed[bytes, _Client] = RecentlyUsed(
            lambda client: forwards.loop.close(client.sock), idle=forwards.idle
        )
        self.listener: socket.socket | None = None
        self.closed = False
        self._forwards = forwards
        self._family, self._address = socket_address(self.target)
        self._expire()

    def listen(self, sock: socket.socket) -> None:
        """Receive from ``sock``, and own it, instead of an earlier one; clients stay."""
        self.close_listener()
        self.listener = sock
        self.view = PEER[socket.AddressFamily(sock.family)]
        sock.setblocking(False)
        self.watch()

    def close_listener(self) -> None:
        """Close the socket of the host, if there is one."""
        if self.listener:
            self._forwards.loop.close(self.listener)
            self.listener = None

    def close(self) -> None:
        """Close the forward and its clients."""
        self.closed = True
        self.close_listener()
        self.clients.clear()

    def watch(self) -> None:
        """Receive from clients, if that is to be done now."""
        if self.listener and self._forwards.serving:
            self._forwards.loop.watch(self.listener.fileno(), EPOLLIN, self._from_clients)

    def _from_clients(self, _mask: int) -> None:
        """Pass datagrams on; the first ones wait in the socket's buffer until the guest has lent a socket."""
        if self.listener is None:
            return
        lent = self._forwards.lender.count(self.target) if self._forwards.lender.connected else 0
        if not lent and not len(self.clients):
            self._forwards.loop.forget(self.listener.fileno())
            self._forwards.pause(self)
            return
        try:
            sizes = self._forwards.batch.receive(self.listener, self.view, 0, min(lent or SLOTS, SLOTS))
        except OSError:  # nothing there, or an error of an earlier answer
            return
        self._forwards.on_activity()
        now = self._forwards.clock()
        packets = [(slot, size) for slot, size in enumerate(sizes) if size >= 0]
        for peer, run in itertools.groupby(packets, lambda packet: self._forwards.batch.peer(packet[0], self.view)):
            self._to_target(peer, list(run), now)

    def _to_target(self, peer: bytes, packets: list[tuple[int, int]], now: float) -> None:
        try:
            client = self.clients.use(peer, now) or self._connect(peer, now)
        except OSError as error:
            self._drop(len(packets), error.errno or 0)
            return
        sent = self._forwards.batch.send(client.sock, CONNECTED, packets)
        self.tally.received.bytes += sent.bytes
        self._forwards.unanswered.on_sent(client.flow)
        self._drop(len(packets) - sent.packets, sent.error, client)

    def _connect(self, peer: bytes, now: float) -> _Client:
        assert self.listener
        sock = self._forwards.lender.take("udp", self._family)
        try:
            sock.connect(self._address)
        except OSError:
            sock.close()
            raise
        self.tally.connections += 1
        return self._add(peer, sock, now)

    def _add(self, peer: bytes, sock: socket.socket, now: float) -> _Client:
        assert self.listener
        client = _Client(peer, reply_peer(peer, self.listener.family), sock)
        self.clients.add(peer, client, now)
        self._forwards.loop.watch(sock.fileno(), EPOLLIN, lambda _: self._from_target(client))
        return client

    def suspend(self) -> Iterator[tuple[bytes, socket.socket]]:
        """Stop passing datagrams; yield the clients for another process."""
        self.close_listener()
        for client in self.clients:
            self._forwards.loop.forget(client.sock.fileno())
            yield client.peer, client.sock

    def resume(self, peer: bytes, sock: socket.socket) -> None:
        """Go on with a client of another process."""
        self._add(peer, sock, self._forwards.clock())

    def _from_target(self, client: _Client) -> None:
        if self.clients.use(client.peer, self._forwards.clock()) is not client:
            return
        try:
            self._forwards.answers.take(client, self)
        except BlockingIOError:
            client.empty += 1
            if client.empty > MAX_EMPTY:
                self.clients.remove(client.peer)
        except OSError as error:
            self._drop(0, error.errno or 0, client)
        else:
            client.empty = 0
            client.flow.answered = True

    def answer(self, batch: Batch, packets: list[tuple[int, int]]) -> None:
        """Send datagrams to the clients that they are addressed to."""
        if self.listener is None:
            return
        sent = batch.send(self.listener, self.view, packets)
        self.tally.sent.bytes += sent.bytes
        self._drop(len(packets) - sent.packets, 0)
        self._forwards.on_activity()

    def _drop(self, count: int, error: int, client: _Client | None = None) -> None:
        """Count dropped datagrams; report errors other than a full buffer, such as a target's refusal."""
        self.tally.dropped += count
        if client and error in _REFUSALS:
            client.flow.answered = client.flow.answered or False
        if error not in (0, errno.EAGAIN, errno.ENOBUFS):
            self.tally.error = f"guest: sending to {self.target}: {os.strerror(error)}"
            self._forwards.on_activity()

    def _expire(self) -> None:
        if not self.closed:
            self.clients.expire(self._forwards.clock())
            self._forwards.loop.later(self._forwards.idle / 4, self._expire)


class UdpForwards:
    """The udp forwards being served, by id; ``on_activity`` is called when there will be something to report."""

    def __init__(
        self,
        loop: Loop,
        lender: Lender,
        on_activity: Callable[[], None],
        idle: float = IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.loop = loop
        self.lender = lender
        self.on_activity = on_activity
        self.unanswered = UnansweredFlows(loop, lender.report_unanswered)
        self.idle = idle
        self.serving = False
        self._paused: set[_UdpForward] = set()
        self.clock = clock
        self.batch = Batch()
        self.answers = _AnswerBatch(loop)
        self._forwards: dict[str, _UdpForward] = {}

    def listen(self, message: Listen, descriptor: int) -> None:
        """Serve a forward on ``descriptor``, a bound udp socket, and own it; raise ValueError."""
        sock = socket.socket(fileno=descriptor)
        try:
            target = Endpoint.parse(message.target)
        except ValueError:
            sock.close()
            raise
        forward = self._forwards.get(message.id)
        if forward is None or forward.target != target:
            self.close(message.id)
            forward = self._forwards[message.id] = _UdpForward(self, message.id, target)
        forward.listen(sock)

    def close(self, name: str) -> None:
        """End a forward and its clients, if it is served."""
        forward = self._forwards.pop(name, None)
        if forward:
            forward.close()

    def serve(self) -> None:
        """Receive from clients from now on, because none that is known is still to come."""
        self.serving = True
        for forward in self._forwards.values():
            forward.watch()

    def pause(self, forward: _UdpForward) -> None:
        """Watch ``forward`` again once there are sockets, or in a moment."""
        if not self._paused:
            self.loop.later(PAUSE_SECONDS, self.unpause)
        self._paused.add(forward)

    def unpause(self) -> None:
        """Receive from clients again where that was paused."""
        paused, self._paused = self._paused, set()
        for forward in paused:
            forward.watch()

    def close_listeners(self) -> None:
        """Close the sockets of the host, until `serve` is called again; clients stay until they are idle."""
        self.serving = False
        for forward in self._forwards.values():
            forward.close_listener()

    def forget_clients(self) -> None:
        """End all clients; listeners stay."""
        for forward in self._forwards.values():
            forward.clients.clear()

    def suspend(self) -> Iterator[tuple[str, bytes, socket.socket]]:
        """Stop passing datagrams; yield the clients for another process, each with the id of its forward."""
        for name, forward in self._forwards.items():
            for peer, sock in forward.suspend():
                yield name, peer, sock

    def resume(self, name: str, peer: bytes, descriptor: int) -> None:
        """Go on with a client of another process, if its forward is still served."""
        forward = self._forwards.get(name)
        sock = socket.socket(fileno=descriptor)
        if forward and forward.listener and len(peer) == forward.view.name + forward.view.control:
            forward.resume(peer, sock)
        else:
            sock.close()

    def counters(self) -> list[Counters]:
        """Return the counters that changed since the last call; drop forwards without listener and clients."""
        reports = (forward.tally.report(len(forward.clients)) for forward in self._forwards.values())
        changed = [counters for counters in reports if counters]
        for name, forward in list(self._forwards.items()):
            if not forward.listener and not len(forward.clients):
                self.close(name)
        return changed

    @property
    def busy(self) -> bool:
        """Whether there are clients."""
        return any(len(forward.clients) for forward in self._forwards.values())
