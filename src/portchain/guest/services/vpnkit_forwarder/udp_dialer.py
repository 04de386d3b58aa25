"""The guest's end of udp forwards; the host's end is `udp_listener`."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import time
from collections.abc import Callable
from select import EPOLLIN

from ....net.datagram_batches import CONNECTED, ID, PAIR, SLOTS, Batch
from ....net.datagram_clients import IDLE_SECONDS, RecentlyUsed
from ....net.listening import DATAGRAM_BUFFER
from ....net.loop import Loop
from ....net.socket_address import socket_address
from ....net.tally import Tally
from ....ports.forward import Endpoint
from ....protocol.handoff import Counters, Listen
from .stale_flows import StaleFlows, UdpFlow

_REFUSALS = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH)


class _Client:
    """A client's socket; at most ``batch_size`` datagrams are read from it at once, fewer while few come."""

    __slots__ = ("batch_size", "flow", "number", "sock")

    def __init__(self, number: int, sock: socket.socket) -> None:
        self.number = number
        self.sock = sock
        self.flow = UdpFlow(sock)
        self.batch_size = 1


class _AnswerBatch:
    """Collects the targets' answers of one round of the event loop, and sends them together."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._batch = Batch()
        self._packets: list[tuple[int, int]] = []
        self._send: Callable[[Batch, list[tuple[int, int]]], None]

    def take(self, client: _Client, send: Callable[[Batch, list[tuple[int, int]]], None]) -> None:
        """Read a client's answers; ``send`` is called with them at the end of this round or before. Raise OSError."""
        if self._packets and (send != self._send or len(self._packets) == SLOTS):
            self._flush()
        first = len(self._packets)
        limit = min(client.batch_size, SLOTS - first)
        sizes = self._batch.receive(client.sock, CONNECTED, first, limit)
        if len(sizes) == limit > 1 or client.batch_size == 1:
            client.batch_size = min(SLOTS, 2 * limit)
        else:
            client.batch_size = max(1, len(sizes))
        for slot, size in enumerate(sizes, first):
            self._batch.set_id(slot, client.number)
            self._packets.append((slot, size))
        if not first:
            self._send = send
            self._loop.later(0, self._flush)

    def _flush(self) -> None:
        if self._packets:
            self._send(self._batch, self._packets)
            self._packets = []


class _UdpForward:
    """Passes datagrams between the socket pair to the host and one socket a client, connected to the target."""

    def __init__(self, dialer: UdpDialer, message: Listen, pair: socket.socket) -> None:
        self.tally = Tally(message.id)
        self.clients: RecentlyUsed[int, _Client] = RecentlyUsed(
            lambda client: dialer.loop.close(client.sock), idle=dialer.idle
        )
        self.closed = False
        self._dialer = dialer
        self._target = Endpoint.parse(message.target)
        self._family, self._address = socket_address(self._target)
        self._pair = pair
        pair.setblocking(False)
        dialer.loop.watch(pair.fileno(), EPOLLIN, self._from_host)
        self._expire()

    def close(self) -> None:
        """Close the forward and its clients."""
        if not self.closed:
            self.closed = True
            self._dialer.loop.close(self._pair)
            self.clients.clear()

    def _from_host(self, _mask: int) -> None:
        if self.closed:
            return
        try:
            sizes = self._dialer.batch.receive(self._pair, PAIR)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._dialer.on_activity()
        now = self._dialer.clock()
        packets = [(slot, size - ID.size) for slot, size in enumerate(sizes) if size >= ID.size]
        for number, run in itertools.groupby(packets, lambda packet: self._dialer.batch.id(packet[0])):
            self._to_target(number, list(run), now)
        if 0 in sizes:  # the host closed its end
            self.close()

    def _to_target(self, number: int, packets: list[tuple[int, int]], now: float) -> None:
        try:
            client = self.clients.use(number, now) or self._connect(number, now)
        except OSError as error:
            self._drop(len(packets), error.errno or 0)
            return
        sent = self._dialer.batch.send(client.sock, CONNECTED, packets)
        self.tally.received.bytes += sent.bytes
        self._dialer.stale_flows.on_sent(client.flow)
        self._drop(len(packets) - sent.packets, sent.error, client)

    def _connect(self, number: int, now: float) -> _Client:
        sock = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAM_BUFFER)
            sock.connect(self._address)
        except OSError:
            sock.close()
            raise
        client = _Client(number, sock)
        self.tally.connections += 1
        self.clients.add(number, client, now)
        self._dialer.loop.watch(sock.fileno(), EPOLLIN, lambda _: self._from_target(client))
        return client

    def _from_target(self, client: _Client) -> None:
        if self.clients.use(client.number, self._dialer.clock()) is not client:
            return
        try:
            self._dialer.answers.take(client, self._to_host)
        except OSError as error:
            self._drop(0, error.errno or 0, client)
        else:
            client.flow.answered = True

    def _to_host(self, batch: Batch, packets: list[tuple[int, int]]) -> None:
        sent = batch.send(self._pair, PAIR, packets)
        self.tally.sent.bytes += sent.bytes
        self._drop(len(packets) - sent.packets, 0)
        self._dialer.on_activity()

    def _drop(self, count: int, error: int, client: _Client | None = None) -> None:
        """Count dropped datagrams; report errors other than a full buffer, such as a target's refusal."""
        self.tally.dropped += count
        if client and error in _REFUSALS:
            client.flow.answered = client.flow.answered or False
        if error not in (0, errno.EAGAIN):
            self.tally.error = f"guest: sending to {self._target}: {os.strerror(error)}"
            self._dialer.on_activity()

    def _expire(self) -> None:
        if not self.closed:
            self.clients.expire(self._dialer.clock())
            self._dialer.loop.later(self._dialer.idle / 4, self._expire)


class UdpDialer:
    """The udp forwards being served, by id; ``on_activity`` is called when there will be something to report."""

    def __init__(
        self,
        loop: Loop,
        on_activity: Callable[[], None],
        idle: float = IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.loop = loop
        self.on_activity = on_activity
        self.stale_flows = StaleFlows(loop)
        self.idle = idle
        self.clock = clock
        self.batch = Batch()
        self.answers = _AnswerBatch(loop)
        self._forwards: dict[str, _UdpForward] = {}

    def listen(self, message: Listen, descriptor: int) -> None:
        """Serve a forward on ``descriptor``, the guest's end of a socket pair, and own it; raise ValueError."""
        self.close(message.id)
        pair = socket.socket(fileno=descriptor)
        try:
            self._forwards[message.id] = _UdpForward(self, message, pair)
        except ValueError:
            pair.close()
            raise

    def close(self, name: str) -> None:
        """End a forward and its clients, if it is served."""
        forward = self._forwards.pop(name, None)
        if forward:
            forward.close()

    def close_all(self) -> None:
        """End all forwards: the host's forwarder is gone, and its clients with it."""
        for name in list(self._forwards):
            self.close(name)

    def counters(self) -> list[Counters]:
        """Return the counters that changed since the last call."""
        reports = (forward.tally.report(len(forward.clients)) for forward in self._forwards.values())
        return [counters for counters in reports if counters]

    @property
    def busy(self) -> bool:
        """Whether there are clients."""
        return any(len(forward.clients) for forward in self._forwards.values())
