"""The datagrams that a guest sends to its gateway's address, led to the host's loopback."""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
import time
from collections.abc import Callable
from select import EPOLLIN

from ..forwarder.loop import Loop
from ..forwarder.udp_clients import IDLE_SECONDS, Recent

IP_TRANSPARENT = 19
IP_RECVORIGDSTADDR = 20
_LARGEST = 65507  # bytes of payload over IPv4
_AT_ONCE = 32
_ADDRESS = struct.Struct("!2xH4s8x")  # struct sockaddr_in
_HEADER = struct.Struct("!4H")

Key = tuple[str, int, int]


def open_sockets(gateway: str) -> tuple[socket.socket, socket.socket]:
    """In the caller's network namespace: where TPROXY delivers what is sent to ``gateway``, and for answers from there.

    The second is raw, so that an answer can come from the port that was asked, whichever that is. It reads nothing.
    """
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (IP_TRANSPARENT, IP_RECVORIGDSTADDR):
        taken.setsockopt(socket.SOL_IP, option, 1)
    taken.bind((gateway, 0))
    answers = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    answers.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
    answers.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    answers.bind((gateway, 0))
    return taken, answers


class HostAccessDatagrams:
    """Passes on what arrives on ``taken`` for ports that are ``allowed``, and answers by ``answers``.

    A datagram that finds no room, or no server, is dropped.
    """

    def __init__(
        self, loop: Loop, taken: socket.socket, answers: socket.socket, allowed: Callable[[int], bool]
    ) -> None:
        self._loop = loop
        self._taken = taken
        self._answers = answers
        self._allowed = allowed
        self._flows: Recent[Key, socket.socket] = Recent(loop.close)
        for sock in (taken, answers):
            sock.setblocking(False)
        loop.watch(taken.fileno(), EPOLLIN, self._from_guest)
        self._expire()

    def _from_guest(self, _: int) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, ancillary, _, (address, client) = self._taken.recvmsg(_LARGEST, socket.CMSG_SPACE(_ADDRESS.size))
            except OSError:
                return
            port, _ = _ADDRESS.unpack(ancillary[0][2])
            if self._allowed(port):
                with contextlib.suppress(OSError):
                    self._flow((address, client, port)).send(data)

    def _flow(self, key: Key) -> socket.socket:
        """The socket from which the server at port ``key[2]`` hears from this client."""
        now = time.monotonic()
        flow = self._flows.use(key, now)
        if flow is None:
            flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            flow.connect(("127.0.0.1", key[2]))
            self._flows.add(key, flow, now)
            self._loop.watch(flow.fileno(), EPOLLIN, functools.partial(self._from_host, key, flow))
        return flow

    def _from_host(self, key: Key, flow: socket.socket, _: int) -> None:
        address, client, port = key
        self._flows.use(key, time.monotonic())
        for _ in range(_AT_ONCE):
            try:
                data = flow.recv(_LARGEST)
                self._answers.sendto(_HEADER.pack(port, client, _HEADER.size + len(data), 0) + data, (address, 0))
            except OSError:
                return

    def _expire(self) -> None:
        self._flows.expire(time.monotonic())
        self._loop.later(IDLE_SECONDS / 4, self._expire)
