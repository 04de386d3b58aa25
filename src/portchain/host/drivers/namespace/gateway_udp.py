"""Relaying the datagrams that a guest sends to its gateway's address to the host's loopback."""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
import time
from collections.abc import Callable
from select import EPOLLIN

from ....net.datagram_clients import IDLE_SECONDS, RecentlyUsed
from ....net.loop import Loop

IP_TRANSPARENT = 19
IP_RECVORIGDSTADDR = 20
_LARGEST = 65507  # bytes of payload over IPv4
_BATCH = 32
_ADDRESS = struct.Struct("!2xH4s8x")  # struct sockaddr_in
_HEADER = struct.Struct("!4H")

FlowKey = tuple[str, int, int]


def open_sockets(gateway: str) -> tuple[socket.socket, socket.socket]:
    """Open the two sockets of the relay in the caller's network namespace: for TPROXY, and for answers.

    The first gets the datagrams to ``gateway`` that TPROXY delivers. The second is raw, so that it can send answers
    from any port; nothing is read from it.
    """
    tproxy = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (IP_TRANSPARENT, IP_RECVORIGDSTADDR):
        tproxy.setsockopt(socket.SOL_IP, option, 1)
    tproxy.bind((gateway, 0))
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
    raw.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    raw.bind((gateway, 0))
    return tproxy, raw


class HostAccessDatagrams:
    """Passes on datagrams that arrive on ``tproxy`` for ``allowed`` ports, and sends the answers on ``raw``.

    A datagram is dropped if a buffer is full or there is no server.
    """

    def __init__(self, loop: Loop, tproxy: socket.socket, raw: socket.socket, allowed: Callable[[int], bool]) -> None:
        self._loop = loop
        self._tproxy = tproxy
        self._raw = raw
        self._allowed = allowed
        self._flows: RecentlyUsed[FlowKey, socket.socket] = RecentlyUsed(loop.close)
        for sock in (tproxy, raw):
            sock.setblocking(False)
        loop.watch(tproxy.fileno(), EPOLLIN, self._from_guest)
        self._expire()

    def _from_guest(self, _: int) -> None:
        for _ in range(_BATCH):
            try:
                data, ancillary, _, (address, client) = self._tproxy.recvmsg(_LARGEST, socket.CMSG_SPACE(_ADDRESS.size))
            except OSError:
                return
            port, _ = _ADDRESS.unpack(ancillary[0][2])
            if self._allowed(port):
                with contextlib.suppress(OSError):
                    self._flow((address, client, port)).send(data)

    def _flow(self, key: FlowKey) -> socket.socket:
        """Return the socket on which the server at port ``key[2]`` is reached for this client."""
        now = time.monotonic()
        flow = self._flows.use(key, now)
        if flow is None:
            flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            flow.connect(("127.0.0.1", key[2]))
            self._flows.add(key, flow, now)
            self._loop.watch(flow.fileno(), EPOLLIN, functools.partial(self._from_host, key, flow))
        return flow

    def _from_host(self, key: FlowKey, flow: socket.socket, _: int) -> None:
        address, client, port = key
        self._flows.use(key, time.monotonic())
        for _ in range(_BATCH):
            try:
                data = flow.recv(_LARGEST)
                self._raw.sendto(_HEADER.pack(port, client, _HEADER.size + len(data), 0) + data, (address, 0))
            except OSError:
                return

    def _expire(self) -> None:
        self._flows.expire(time.monotonic())
        self._loop.later(IDLE_SECONDS / 4, self._expire)
