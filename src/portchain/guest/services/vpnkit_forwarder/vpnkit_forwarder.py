"""vpnkit-forwarder: lend sockets of the guest's network to the host's relay, and connect unix sockets for it."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from functools import partial

from ....linux import daemon_log
from ....linux.descriptor_limit import raise_descriptor_limit
from ....net.datagram_clients import DATAGRAM_BUFFER
from ....net.loop import Loop
from ....net.packet_link import PacketLink
from ....net.socket_address import keep_alive
from ....protocol.lending import (
    KINDS,
    MAX_LENT,
    VERSION,
    Lend,
    Open,
    Opened,
    Refused,
    Unanswered,
    Want,
    from_host,
)
from ....protocol.packets import Hello, Message, PacketConnection, ProtocolError
from .stale_flows import StaleFlows

CHANNEL = "/run/host-services/forwarder.sock"
RETRY_SECONDS = 0.2

log = logging.getLogger("vpnkit-forwarder")


class ChannelEnd:
    """Keeps a connection to the host's relay and gives it what it asks for."""

    def __init__(self, loop: Loop, path: str) -> None:
        self._loop = loop
        self._path = path
        self._stale_flows = StaleFlows()
        self._link: PacketLink | None = None
        self._connect()

    def _connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.setblocking(False)
        if sock.connect_ex(self._path) != 0:
            sock.close()
            self._loop.later(RETRY_SECONDS, self._connect)
            return
        self._link = PacketLink(self._loop, PacketConnection(sock, from_host()), self, "the host's relay")
        self._link.send(Hello(VERSION))

    def receive(self, message: Message, _descriptors: list[int]) -> None:
        """Handle a message from the relay; raise ProtocolError."""
        if isinstance(message, Want):
            self._lend(message.kind, message.count)
        elif isinstance(message, Open):
            self._open(message)
        elif isinstance(message, Unanswered):
            self._stale_flows.check(message)
        elif isinstance(message, Hello):
            log.info("connected to the host's relay")

    def _lend(self, kind: str, count: int) -> None:
        """Make and lend ``count`` sockets, some of them later if there is no room now."""
        if kind not in KINDS:
            raise ProtocolError(f"no kind of socket {kind[:20]!r}")
        sockets: list[socket.socket] = []
        try:
            while len(sockets) < min(count, MAX_LENT):
                sockets.append(make_socket(kind))
        except OSError as error:
            log.warning("guest: no more %s sockets: %s", kind, error)
        if sockets:
            self._send(Lend(kind), sockets)
        if missing := count - len(sockets):
            self._loop.later(RETRY_SECONDS, partial(self._lend_later, self._link, kind, missing))

    def _lend_later(self, link: PacketLink | None, kind: str, count: int) -> None:
        if self._link is link:
            self._lend(kind, count)

    def _open(self, message: Open) -> None:
        target = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        target.setblocking(False)
        code = target.connect_ex(message.target)
        if code == 0:
            self._send(Opened(message.id), [target])
        else:
            target.close()
            self._send(Refused(message.id, os.strerror(code)))

    def lost(self, reason: str) -> None:
        """Reconnect to the relay."""
        log.warning("channel to the host closed: %s", reason)
        self._link = None
        self._loop.later(RETRY_SECONDS, self._connect)

    def _send(self, message: Message, sockets: Sequence[socket.socket] = ()) -> None:
        if self._link:
            self._link.send(message, sockets)


def make_socket(kind: str) -> socket.socket:
    """Return a socket of one of KINDS, ready to be connected; raise OSError."""
    family, type_, protocol = KINDS[kind]
    sock = socket.socket(family, type_, protocol)
    sock.setblocking(False)
    if protocol == socket.IPPROTO_TCP:
        keep_alive(sock)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAM_BUFFER)
    return sock


def main(path: str = CHANNEL) -> None:
    """Serve for ever."""
    daemon_log.configure(log.name)
    raise_descriptor_limit()
    loop = Loop()
    ChannelEnd(loop, path)
    loop.run()
