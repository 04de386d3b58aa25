"""The guest's end of udp forwards; the host's is `udp_listener`."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import time
from collections.abc import Callable
from select import EPOLLIN

from ..channel.handoff import Counters, Listen
from ..mapping.forward import Endpoint
from .address import socket_address
from .listener import DATAGRAM_BUFFER
from .loop import Loop
from .tally import Tally
from .udp_batch import CONNECTED, ID, PAIR, SLOTS, Batch
from .udp_clients import IDLE_SECONDS, Recent


class _Client:
    """A client's socket; ``most`` datagrams are read from it at once, fewer while few come."""

    __slots__ = ("most", "number", "sock")

    def __init__(self, number: int, sock: socket.socket) -> None:
        self.number = number
        self.sock = sock
        self.most = 1


class _Answers:
    """Gathers what targets answer within a round of the loop, so as to pass it on at one go."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._batch = Batch()
        self._packets: list[tuple[int, int]] = []
        self._send: Callable[[Batch, list[tuple[int, int]]], None]

    def take(self, client: _Client, send: Callable[[Batch, list[tuple[int, int]]], None]) -> None:
        """Read from a client's target; ``send`` is called with it and more. Raise OSError."""
        if self._packets and (send != self._send or len(self._packets) == SLOTS):
            self._flush()
        first = len(self._packets)
        most = min(client.most, SLOTS - first)
        sizes = self._batch.receive(client.sock, CONNECTED, first, most)
        client.most = min(SLOTS, 2 * most) if len(sizes) == most > 1 or client.most == 1 else max(1, len(sizes))
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


class _Forward:
    """Passes datagrams between the pair and a socket for each client, connected to the target."""

    def __init__(self, end: Dialer, message: Listen, pair: socket.socket) -> None:
        self.tally = Tally(message.id)
        self.clients: Recent[int, _Client] = Recent(lambda client: end.loop.close(client.sock), idle=end.idle)
        self.closed = False
        self._end = end
        self._target = Endpoint.parse(message.target)
        self._family, self._address = socket_address(self._target)
        self._pair = pair
        pair.setblocking(False)
        end.loop.watch(pair.fileno(), EPOLLIN, self._from_host)
        self._expire()

    def close(self) -> None:
        """End it, its clients too."""
        if not self.closed:
            self.closed = True
            self._end.loop.close(self._pair)
            self.clients.clear()

    def _from_host(self, _mask: int) -> None:
        if self.closed:
            return
        try:
            sizes = self._end.batch.receive(self._pair, PAIR)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._end.on_activity()
        now = time.monotonic()
        packets = [(slot, size - ID.size) for slot, size in enumerate(sizes) if size >= ID.size]
        for number, run in itertools.groupby(packets, lambda packet: self._end.batch.id(packet[0])):
            self._to_target(number, list(run), now)
        if 0 in sizes:  # the host closed its end
            self.close()

    def _to_target(self, number: int, packets: list[tuple[int, int]], now: float) -> None:
        try:
            client = self.clients.use(number, now) or self._connect(number, now)
        except OSError as error:
            self._drop(len(packets), error.errno or 0)
            return
        sent = self._end.batch.send(client.sock, CONNECTED, packets)
        self.tally.received.bytes += sent.bytes
        self._drop(len(packets) - sent.packets, sent.error)

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
        self._end.loop.watch(sock.fileno(), EPOLLIN, lambda _: self._from_target(client))
        return client

    def _from_target(self, client: _Client) -> None:
        if self.clients.use(client.number, time.monotonic()) is not client:
            return
        try:
            self._end.answers.take(client, self._to_host)
        except OSError as error:
            self._drop(0, error.errno or 0)

    def _to_host(self, batch: Batch, packets: list[tuple[int, int]]) -> None:
        sent = batch.send(self._pair, PAIR, packets)
        self.tally.sent.bytes += sent.bytes
        self._drop(len(packets) - sent.packets, 0)
        self._end.on_activity()

    def _drop(self, count: int, error: int) -> None:
        """Datagrams that found no room are counted; that the target refuses them, say, is reported too."""
        self.tally.dropped += count
        if error not in (0, errno.EAGAIN):
            self.tally.error = f"guest: sending to {self._target}: {os.strerror(error)}"
            self._end.on_activity()

    def _expire(self) -> None:
        if not self.closed:
            self.clients.expire(time.monotonic())
            self._end.loop.later(self._end.idle / 4, self._expire)


class Dialer:
    """The udp forwards being served, by name; ``on_activity`` is called when there will be something to report."""

    def __init__(self, loop: Loop, on_activity: Callable[[], None], idle: float = IDLE_SECONDS) -> None:
        self.loop = loop
        self.on_activity = on_activity
        self.idle = idle
        self.batch = Batch()
        self.answers = _Answers(loop)
        self._forwards: dict[str, _Forward] = {}

    def listen(self, message: Listen, descriptor: int) -> None:
        """Serve a forward on the guest's end of a pair, ours from now on; raise ValueError."""
        self.close(message.id)
        pair = socket.socket(fileno=descriptor)
        try:
            self._forwards[message.id] = _Forward(self, message, pair)
        except ValueError:
            pair.close()
            raise

    def close(self, name: str) -> None:
        """End a forward and its clients."""
        forward = self._forwards.pop(name, None)
        if forward:
            forward.close()

    def close_all(self) -> None:
        """End all: the host's forwarder is gone, and its clients with it."""
        for name in list(self._forwards):
            self.close(name)

    def counters(self) -> list[Counters]:
        """What changed since the last call."""
        return [c for c in (f.tally.report(len(f.clients)) for f in self._forwards.values()) if c]

    @property
    def busy(self) -> bool:
        """Whether there are clients."""
        return any(len(forward.clients) for forward in self._forwards.values())
