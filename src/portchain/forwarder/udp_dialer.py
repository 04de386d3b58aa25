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
from .udp_batch import CONNECTED, ID, PAIR, batch
from .udp_clients import IDLE_SECONDS, Recent


class _Forward:
    """Passes datagrams between the pair and a socket for each client, connected to the target."""

    def __init__(
        self, loop: Loop, message: Listen, pair: socket.socket, on_activity: Callable[[], None], idle: float
    ) -> None:
        self.tally = Tally(message.id)
        self.clients: Recent[int, socket.socket] = Recent(loop.close, idle=idle)
        self._idle = idle
        self.closed = False
        self._loop = loop
        self._target = Endpoint.parse(message.target)
        self._family, self._address = socket_address(self._target)
        self._pair = pair
        self._on_activity = on_activity
        pair.setblocking(False)
        loop.watch(pair.fileno(), EPOLLIN, self._from_host)
        self._expire()

    def close(self) -> None:
        """End it, its clients too."""
        if not self.closed:
            self.closed = True
            self._loop.close(self._pair)
            self.clients.clear()

    def _from_host(self, _mask: int) -> None:
        if self.closed:
            return
        try:
            sizes = batch.receive(self._pair.fileno(), PAIR)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._on_activity()
        packets = [(slot, size - ID.size) for slot, size in enumerate(sizes) if size >= ID.size]
        for number, run in itertools.groupby(packets, lambda packet: batch.id(packet[0])):
            self._to_target(number, list(run))
        if 0 in sizes:  # the host closed its end
            self.close()

    def _to_target(self, number: int, packets: list[tuple[int, int]]) -> None:
        now = time.monotonic()
        try:
            sock = self.clients.use(number, now) or self._connect(number, now)
        except OSError as error:
            self._drop(len(packets), error.errno or 0)
            return
        sent = batch.send(sock.fileno(), CONNECTED, packets)
        self.tally.received.bytes += sent.bytes
        self._drop(len(packets) - sent.packets, sent.error)

    def _connect(self, number: int, now: float) -> socket.socket:
        sock = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAM_BUFFER)
            sock.connect(self._address)
        except OSError:
            sock.close()
            raise
        self.tally.connections += 1
        self.clients.add(number, sock, now)
        self._loop.watch(sock.fileno(), EPOLLIN, lambda _: self._from_target(number, sock))
        return sock

    def _from_target(self, number: int, sock: socket.socket) -> None:
        if sock is not self.clients.use(number, time.monotonic()):
            return
        try:
            sizes = batch.receive(sock.fileno(), CONNECTED)
        except OSError as error:
            self._drop(0, error.errno or 0)
            return
        for slot in range(len(sizes)):
            batch.set_id(slot, number)
        sent = batch.send(self._pair.fileno(), PAIR, list(enumerate(sizes)))
        self.tally.sent.bytes += sent.bytes
        self._drop(len(sizes) - sent.packets, 0)
        self._on_activity()

    def _drop(self, count: int, error: int) -> None:
        """Datagrams that found no room are counted; that the target refuses them, say, is reported too."""
        self.tally.dropped += count
        if error not in (0, errno.EAGAIN):
            self.tally.error = f"guest: sending to {self._target}: {os.strerror(error)}"
            self._on_activity()

    def _expire(self) -> None:
        if not self.closed:
            self.clients.expire(time.monotonic())
            self._loop.later(self._idle / 4, self._expire)


class Dialer:
    """The udp forwards being served, by name; ``on_activity`` is called when there will be something to report."""

    def __init__(self, loop: Loop, on_activity: Callable[[], None], idle: float = IDLE_SECONDS) -> None:
        self._loop = loop
        self._on_activity = on_activity
        self._idle = idle
        self._forwards: dict[str, _Forward] = {}

    def listen(self, message: Listen, descriptor: int) -> None:
        """Serve a forward on the guest's end of a pair, ours from now on; raise ValueError."""
        self.close(message.id)
        pair = socket.socket(fileno=descriptor)
        try:
            self._forwards[message.id] = _Forward(self._loop, message, pair, self._on_activity, self._idle)
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
