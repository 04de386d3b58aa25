"""The host's end of a UDP forward.

A process with a UDP socket of the host's network can send from it to any address, so the socket stays on the host. The
guest gets one end of a SOCK_SEQPACKET pair instead. A packet on the pair is the id of a client (4 bytes in native byte
order) and a datagram. The guest can answer a client by its id and reach nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import Callable

from ...net.datagram_batches import ID, PAIR, PEER, Batch
from ...net.datagram_clients import IDLE_SECONDS, RecentlyUsed, reply_peer
from ...net.listening import DATAGRAM_BUFFER

_batch = Batch()


class UdpListener:
    """Passes datagrams between clients and the guest.

    ``dropped`` counts datagrams dropped because a buffer was full or their client unknown. While the guest is away,
    datagrams wait in the socket's buffer as long as there is room.
    """

    def __init__(
        self, sock: socket.socket, idle: float = IDLE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.dropped = 0
        self._sock = sock
        self._view = PEER[socket.AddressFamily(sock.family)]
        self._idle = idle
        self._clock = clock
        self._pair: socket.socket | None = None
        self._guest_end: socket.socket | None = None
        self._ids = itertools.count()
        self._peers: dict[int, bytes] = {}
        self._clients: RecentlyUsed[bytes, tuple[int, bytes]] = RecentlyUsed(self._forget_client, idle=idle)
        self._timer: asyncio.TimerHandle | None = None

    def descriptor(self) -> int:
        """Open a new pair, closing the earlier one, and return the guest's end, which is open until `handed_over`."""
        self.guest_lost()
        self._pair, self._guest_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._pair, self._guest_end):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, DATAGRAM_BUFFER)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pair, self._from_guest, self._pair)
        loop.add_reader(self._sock, self._from_clients, self._pair)
        return self._guest_end.fileno()

    def handed_over(self) -> None:
        """Close the guest's end of the pair here, because the guest has its own copy."""
        if self._guest_end:
            self._guest_end.close()
            self._guest_end = None

    def guest_lost(self) -> None:
        """Close the pair. Datagrams wait in the socket's buffer until there is a new one."""
        if self._pair:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._sock)
            loop.remove_reader(self._pair)
            self._pair.close()
            self._pair = None
        self.handed_over()

    def close(self) -> None:
        """Close the pair and the socket."""
        self.guest_lost()
        if self._timer:
            self._timer.cancel()
        self._sock.close()

    def _from_clients(self, pair: socket.socket) -> None:
        now = self._clock()
        with contextlib.suppress(OSError):
            sizes = _batch.receive(self._sock, self._view)
            for slot in range(len(sizes)):
                _batch.set_id(slot, self._client_id(_batch.peer(slot, self._view), now))
            sent = _batch.send(pair, PAIR, list(enumerate(sizes)))
            self.dropped += len(sizes) - sent.packets

    def _client_id(self, peer: bytes, now: float) -> int:
        """Return the id of the client at the socket address ``peer``, a new one if it is unknown."""
        client = self._clients.use(peer, now)
        if client:
            return client[0]
        client_id = next(number for i in self._ids if (number := i & 0xFFFFFFFF) not in self._peers)
        self._peers[client_id] = peer
        self._clients.add(peer, (client_id, reply_peer(peer, self._sock.family)), now)
        self._expire_later()
        return client_id

    def _from_guest(self, pair: socket.socket) -> None:
        now = self._clock()
        try:
            sizes = _batch.receive(pair, PAIR)
        except OSError:
            return
        packets = []
        for slot, size in enumerate(sizes):
            if size == 0:
                self.guest_lost()
                break
            client = self._clients.use(self._peers.get(_batch.id(slot), b""), now) if size >= ID.size else None
            if client:
                _batch.set_peer(slot, self._view, client[1])
                packets.append((slot, size - ID.size))
            else:
                self.dropped += 1
        if packets:
            sent = _batch.send(self._sock, self._view, packets)
            self.dropped += len(packets) - sent.packets

    def _forget_client(self, client: tuple[int, bytes]) -> None:
        del self._peers[client[0]]

    def _expire_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._idle / 4, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._clients.expire(self._clock())
        if len(self._clients):
            self._expire_later()
