"""The host's end of a udp forward.

Whoever holds a UDP socket of the host's network can send from it to anywhere, so it stays here. The guest holds one end
of a SOCK_SEQPACKET pair instead. A packet on it is a datagram behind the id of its client, 4 bytes in the machine's
order. The guest can answer a client by that id, and reach nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import time

from .listener import DATAGRAM_BUFFER
from .udp_batch import ID, PAIR, PEER, Batch
from .udp_clients import IDLE_SECONDS, Recent, answer_to

_batch = Batch()


class UdpListener:
    """Passes datagrams between clients and the guest. ``dropped`` counts those that found no room, or no client.

    While the guest is away, datagrams wait in the socket's buffer, as many as it holds.
    """

    def __init__(self, sock: socket.socket, idle: float = IDLE_SECONDS) -> None:
        self.dropped = 0
        self._sock = sock
        self._view = PEER[socket.AddressFamily(sock.family)]
        self._idle = idle
        self._pair: socket.socket | None = None
        self._guests_end: socket.socket | None = None
        self._ids = itertools.count()
        self._peers: dict[int, bytes] = {}
        self._clients: Recent[bytes, tuple[int, bytes]] = Recent(self._leave, idle=idle)
        self._timer: asyncio.TimerHandle | None = None

    def descriptor(self) -> int:
        """A new pair's end for the guest; the earlier pair is closed. Open until `handed_over`."""
        self.guest_lost()
        self._pair, self._guests_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._pair, self._guests_end):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, DATAGRAM_BUFFER)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pair, self._from_guest, self._pair)
        loop.add_reader(self._sock, self._from_clients, self._pair)
        return self._guests_end.fileno()

    def handed_over(self) -> None:
        """The guest has its own copy of the descriptor."""
        if self._guests_end:
            self._guests_end.close()
            self._guests_end = None

    def guest_lost(self) -> None:
        """Leave datagrams where they are until there is a new pair."""
        if self._pair:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._sock)
            loop.remove_reader(self._pair)
            self._pair.close()
            self._pair = None
        self.handed_over()

    def close(self) -> None:
        """Give up the port."""
        self.guest_lost()
        if self._timer:
            self._timer.cancel()
        self._sock.close()

    def _from_clients(self, pair: socket.socket) -> None:
        now = time.monotonic()
        with contextlib.suppress(OSError):
            sizes = _batch.receive(self._sock, self._view)
            for slot in range(len(sizes)):
                _batch.set_id(slot, self._id_of(_batch.peer(slot, self._view), now))
            sent = _batch.send(pair, PAIR, list(enumerate(sizes)))
            self.dropped += len(sizes) - sent.packets

    def _id_of(self, peer: bytes, now: float) -> int:
        known = self._clients.use(peer, now)
        if known:
            return known[0]
        number = next(n for i in self._ids if (n := i & 0xFFFFFFFF) not in self._peers)
        self._peers[number] = peer
        self._clients.add(peer, (number, answer_to(peer, self._sock.family)), now)
        self._expire_later()
        return number

    def _from_guest(self, pair: socket.socket) -> None:
        now = time.monotonic()
        try:
            sizes = _batch.receive(pair, PAIR)
        except OSError:
            return
        packets = []
        for slot, size in enumerate(sizes):
            if size == 0:
                self.guest_lost()
                break
            known = self._clients.use(self._peers.get(_batch.id(slot), b""), now) if size >= ID.size else None
            if known:
                _batch.set_peer(slot, self._view, known[1])
                packets.append((slot, size - ID.size))
            else:
                self.dropped += 1
        if packets:
            sent = _batch.send(self._sock, self._view, packets)
            self.dropped += len(packets) - sent.packets

    def _leave(self, client: tuple[int, bytes]) -> None:
        del self._peers[client[0]]

    def _expire_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._idle / 4, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._clients.expire(time.monotonic())
        if len(self._clients):
            self._expire_later()
