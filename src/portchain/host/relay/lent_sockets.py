"""The sockets that a guest has lent and that are not yet connected."""

from __future__ import annotations

import errno
import socket
from collections import deque

from ...net.relay import do_not_linger
from ...protocol.lending import KINDS, MAX_LENT
from ...protocol.packets import ProtocolError

LEVEL = MAX_LENT  # sockets of one kind that are kept ready
_SO_NETNS_COOKIE = 71


class LentSockets:
    """At most LEVEL sockets of each kind; those wanted and not yet lent are counted."""

    def __init__(self) -> None:
        self._sockets: dict[str, deque[socket.socket]] = {kind: deque() for kind in KINDS}
        self._asked = dict.fromkeys(KINDS, 0)

    def count(self, kind: str) -> int:
        """Return how many sockets of ``kind`` are there."""
        return len(self._sockets[kind])

    def shortage(self, kind: str) -> int:
        """Return how many sockets to ask for, once at most half of LEVEL is there; they count as asked for."""
        ready = len(self._sockets[kind]) + self._asked[kind]
        if ready > LEVEL // 2:
            return 0
        self._asked[kind] += LEVEL - ready
        return LEVEL - ready

    def take(self, kind: str) -> socket.socket:
        """Return a socket that does not block; raise OSError if there is none."""
        if not self._sockets[kind]:
            raise OSError(errno.ENOBUFS, f"the guest has lent no {kind} socket")
        sock = self._sockets[kind].popleft()
        sock.setblocking(False)
        return sock

    def add(self, kind: str, descriptors: list[int]) -> int:
        """Take in lent sockets, and own them; return the cookie of their network, 0 if none came.

        Raise ProtocolError if one is not what it is said to be; this and the rest stay in ``descriptors``.
        """
        if kind not in KINDS:
            raise ProtocolError(f"no kind of socket {kind[:20]!r}")
        if len(descriptors) > MAX_LENT:
            raise ProtocolError(f"{len(descriptors)} sockets at a time, of at most {MAX_LENT}")
        cookie = 0
        self._asked[kind] = max(0, self._asked[kind] - len(descriptors))
        while descriptors:
            sock = take_socket(descriptors[0], *KINDS[kind])
            del descriptors[0]
            cookie = network_cookie(sock)
            if len(self._sockets[kind]) < LEVEL:
                self._sockets[kind].append(sock)
            else:
                _close(sock)
        return cookie

    def clear(self) -> None:
        """Close all sockets."""
        for kind, sockets in self._sockets.items():
            self._asked[kind] = 0
            while sockets:
                _close(sockets.pop())


def _close(sock: socket.socket) -> None:
    do_not_linger(sock)
    sock.close()


def take_socket(descriptor: int, family: int, kind: int, protocol: int) -> socket.socket:
    """Return the socket that ``descriptor`` is, if it is as asked for and does not listen; raise ProtocolError.

    The guest may hold the same socket, and change it at any time: connect it, read from it, make it block. What it is
    instead, such as a file of the guest's, may not be asked for anything: the answer may never come.
    """
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:
        raise ProtocolError("a descriptor that is no socket") from None
    found = tuple(sock.getsockopt(socket.SOL_SOCKET, option) for option in _KIND_OPTIONS)
    if found != (family, kind, protocol, 0):
        sock.detach()
        raise ProtocolError(f"a socket of another kind: family, type, protocol and whether it listens are {found}")
    return sock


_KIND_OPTIONS = (socket.SO_DOMAIN, socket.SO_TYPE, socket.SO_PROTOCOL, socket.SO_ACCEPTCONN)


def network_cookie(sock: socket.socket) -> int:
    """Return the number that stands for the network namespace of ``sock``; 0 where the kernel does not tell."""
    try:
        return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little")
    except OSError:
        return 0
