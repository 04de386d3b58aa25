"""Relaying the DNS queries of the gateway's dnsmasq from a socket in its namespace to the host's name servers."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from select import EPOLLIN

from ....net.loop import Loop
from ....net.socket_address import socket_address
from ....ports.forward import Endpoint

DNS = 53
# The address at which dnsmasq reaches the relay, in the gateway's namespace.
ADDRESS = ("127.0.0.53", DNS)
MAX_QUERIES = 4096  # that wait for an answer at a time
# For a server that others follow, and for the last one: dnsmasq gives up a query after ten seconds.
SERVER_SECONDS, LAST_SERVER_SECONDS = 2.0, 8.0
_LARGEST = 65535
_BATCH = 64
_RESPONSE, _RECURSION_AVAILABLE, _SERVER_FAILURE = 0x80, 0x80, 2

ClientAddress = tuple[str, int]


def server_failure(query: bytes) -> bytes:
    """Return an answer to ``query`` with the code SERVFAIL."""
    return query[:2] + bytes([query[2] | _RESPONSE, _RECURSION_AVAILABLE | _SERVER_FAILURE]) + query[4:]


class NameRelay:
    """Passes on queries that arrive on ``datagrams``, each from its own port, to one of ``servers`` after the other.

    The server that answered last is asked first. If none answers, the client gets SERVFAIL.
    """

    def __init__(self, loop: Loop, datagrams: socket.socket, servers: Callable[[], list[str]]) -> None:
        self._loop = loop
        self._datagrams = datagrams
        self._servers = servers
        self._last_answering = ""
        self._waiting: set[socket.socket] = set()
        datagrams.setblocking(False)
        loop.watch(datagrams.fileno(), EPOLLIN, self._from_gateway)

    def _from_gateway(self, _: int) -> None:
        for _ in range(_BATCH):
            try:
                query, client = self._datagrams.recvfrom(_LARGEST)
            except OSError:
                return
            if len(query) > 4 and len(self._waiting) < MAX_QUERIES:
                self._ask(query, client, sorted(self._servers(), key=lambda server: server != self._last_answering))

    def _ask(self, query: bytes, client: ClientAddress, servers: list[str]) -> None:
        """Send the query to the first of ``servers`` that can be reached, and later to the next if it is silent."""
        while servers:
            server, *servers = servers
            family, address = socket_address(Endpoint("udp", server, DNS))
            upstream = None
            try:
                upstream = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
                upstream.connect(address)
                upstream.send(query)
            except OSError:
                if upstream:
                    upstream.close()
                continue
            self._waiting.add(upstream)
            ask_next = functools.partial(self._ask_next, upstream, query, client, servers)
            self._loop.watch(
                upstream.fileno(), EPOLLIN, functools.partial(self._answered, upstream, client, server, ask_next)
            )
            self._loop.later(SERVER_SECONDS if servers else LAST_SERVER_SECONDS, ask_next)
            return
        self._reply(server_failure(query), client)

    def _answered(
        self, upstream: socket.socket, client: ClientAddress, server: str, ask_next: Callable[[], None], _: int
    ) -> None:
        try:
            answer = upstream.recv(_LARGEST)
        except BlockingIOError:
            return
        except OSError:
            ask_next()
            return
        self._last_answering = server
        self._close(upstream)
        self._reply(answer, client)

    def _ask_next(self, upstream: socket.socket, query: bytes, client: ClientAddress, servers: list[str]) -> None:
        """Ask the next of ``servers`` unless ``upstream`` has answered."""
        if upstream in self._waiting:
            self._close(upstream)
            self._ask(query, client, servers)

    def _close(self, upstream: socket.socket) -> None:
        self._waiting.discard(upstream)
        self._loop.close(upstream)

    def _reply(self, answer: bytes, client: ClientAddress) -> None:
        try:
            self._datagrams.sendto(answer, client)
        except OSError:
            return  # dnsmasq's buffer is full, or it was restarted: the client asks again
