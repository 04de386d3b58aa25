"""The connection to the guest's relay: listening sockets go to it, states and counters come back."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from ...net.relay import close_without_lingering
from ...net.socket_address import peer_pid
from ...protocol import lending
from ...protocol.handoff import (
    MAX_DESCRIPTORS,
    VERSION,
    Connection,
    GuestConnected,
    GuestLost,
    UdpClient,
    from_relay,
)
from ...protocol.packets import Hello, Message, PacketConnection, ProtocolError
from .table import ForwardTable

RETRY_SECONDS = 0.1
KEEP_SECONDS = 30.0  # for which the connections of a relay that ended are kept

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConnectedGuest:
    """The guest's vpnkit-forwarder that is connected: its pid on the host, and since when (seconds since 1970)."""

    pid: int
    since: float
    channel_version: int = lending.VERSION


class RelayLink:
    """Sends changes of the table to the relay and records its reports; connects again whenever the relay is away.

    ``table`` is to be set before the event loop runs.
    """

    def __init__(self, path: Path) -> None:
        self.guest: ConnectedGuest | None = None
        self.relay_pid = 0
        self.table: ForwardTable
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._connection: PacketConnection | None = None
        self._greeted = False
        self._changed: dict[str, None] = {}
        self._blocked = False
        self._kept: deque[tuple[Message, list[int]]] = deque()
        self._missed = False
        self._retry = self._loop.call_soon(self._connect)

    def changed(self, name: str) -> None:
        """Send the forward's present state to the relay as soon as the connection takes it."""
        if self._greeted:
            self._changed[name] = None
            if not self._blocked:
                self._flush()

    def close(self) -> None:
        """Disconnect from the relay."""
        self._disconnect("the host's forwarder stops")
        self._retry.cancel()
        self._let_go()

    def _let_go(self) -> None:
        """Close the connections that no relay has taken on."""
        while self._kept:
            close_without_lingering(self._kept.popleft()[1])

    def _connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.setblocking(False)
        try:
            sock.connect(str(self._path))
        except OSError as error:
            sock.close()
            if not self._missed:
                self._missed = True
                log.warning("no relay at %s yet: %s", self._path, error.strerror)
            self._retry = self._loop.call_later(RETRY_SECONDS, self._connect)
            return
        self._missed = False
        self._connection = PacketConnection(sock, from_relay(), MAX_DESCRIPTORS)
        self._loop.add_reader(sock, self._receive)
        try:
            self._connection.send(Hello(VERSION))
        except OSError as error:
            self._disconnect(str(error))

    def _receive(self) -> None:
        if self._connection is None:
            return
        try:
            message, descriptors = self._connection.receive()
        except BlockingIOError:
            return
        except EOFError:
            self._disconnect("the relay went away")
        except (OSError, ProtocolError) as error:
            self._disconnect(str(error))
        else:
            if isinstance(message, Hello):
                self._greet()
            elif isinstance(message, Connection | UdpClient):
                self._kept.append((message, descriptors))
            elif isinstance(message, GuestConnected):
                log.info("guest connected, pid %d", message.pid)
                self.guest = ConnectedGuest(message.pid, time.time())
            elif isinstance(message, GuestLost):
                self._lose_guest(message.reason)
            else:
                self.table.receive(message)

    def _greet(self) -> None:
        """Hand all forwards over to the relay, which is ready."""
        assert self._connection
        self.relay_pid = peer_pid(self._connection.sock)
        log.info("connected to the relay, pid %d", self.relay_pid)
        self._greeted = True
        self._changed = dict.fromkeys(self.table.bound_names())
        self._flush()

    def _lose_guest(self, reason: str) -> None:
        if self.guest:
            log.warning("channel to the guest closed: %s", reason)
            self.guest = None
            self.table.guest_lost()

    def _flush(self) -> None:
        """Send the changed forwards; go on when the socket is writable if it is full."""
        if self._connection is None:
            return
        sock = self._connection.sock
        try:
            for name in list(self._changed):
                self._connection.send(*self.table.message_for(name))
                del self._changed[name]
            while self._kept:
                self._connection.send(*self._kept[0])
                close_without_lingering(self._kept.popleft()[1])
        except BlockingIOError:
            self._blocked = True
            self._loop.add_writer(sock, self._flush)
        except OSError as error:
            self._disconnect(str(error))
        else:
            self._blocked = False
            self._loop.remove_writer(sock)

    def _disconnect(self, reason: str) -> None:
        if self._connection is None:
            return
        log.warning("connection to the relay closed: %s", reason)
        self._loop.remove_reader(self._connection.sock)
        self._loop.remove_writer(self._connection.sock)
        self._connection.sock.close()
        self._connection = None
        self.relay_pid = 0
        self._greeted = False
        self._blocked = False
        self._changed.clear()
        self.table.relay_lost()
        self._lose_guest(reason)
        self._retry = self._loop.call_later(RETRY_SECONDS, self._connect)
        if self._kept:
            log.info("keeping %d connections for the relay that follows", len(self._kept))
            self._loop.call_later(KEEP_SECONDS, self._let_go)
