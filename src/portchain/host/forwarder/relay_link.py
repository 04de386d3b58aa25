"""The connection to the guest's relay: listening sockets go to it, states and counters come back."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from ...net.socket_address import peer_credentials
from ...protocol import lending
from ...protocol.handoff import (
    MAX_DESCRIPTORS,
    VERSION,
    Connection,
    GuestConnected,
    GuestLost,
    Serve,
    UdpClient,
    from_relay,
)
from ...protocol.packets import Hello, PacketConnection, ProtocolError
from .kept_connections import KeptConnections
from .table import ForwardTable

RETRY_SECONDS = 0.1

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
        self._complete = False
        self._blocked = False
        self._kept = KeptConnections()
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
        self._kept.let_go()

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
                self._kept.add(message, descriptors)
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
        self.relay_pid = peer_credentials(self._connection.sock).pid
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
            self._kept.pass_on(self._connection)
            if not self._complete:
                self._connection.send(Serve())
                self._complete = True
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
        self._greeted = self._complete = False
        self._blocked = False
        self._changed.clear()
        self.table.relay_lost()
        self._lose_guest(reason)
        self._retry = self._loop.call_later(RETRY_SECONDS, self._connect)
        self._kept.wait()
