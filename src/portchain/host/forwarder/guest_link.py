"""The host's end of the channel to vpnkit-forwarder in the guest: forwards go in, states and counters come out."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from ...net.listening import open_unix_listener
from ...protocol.handoff import FROM_GUEST, VERSION, HandoffConnection, HandoffError, Hello
from .table import ForwardTable

RECONNECT_SECONDS = 0.1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConnectedGuest:
    """The guest's forwarder that is connected: its pid on the host, and since when (seconds since 1970)."""

    pid: int
    since: float
    channel_version: int = VERSION


class GuestLink:
    """Sends changes of the table to the guest and records its reports. A newer connection replaces an older one.

    ``table`` is to be set before the event loop runs.
    """

    def __init__(self, path: Path, guest_uid: int) -> None:
        self.guest: ConnectedGuest | None = None
        self.table: ForwardTable
        self._loop = asyncio.get_running_loop()
        self._connection: HandoffConnection | None = None
        self._changed: dict[str, None] = {}
        self._blocked = False
        self._listener = open_unix_listener(path, guest_uid, socket.SOCK_SEQPACKET)
        self._listener.setblocking(False)
        self._accept_later: asyncio.TimerHandle | None = None
        self._listen()

    def changed(self, name: str) -> None:
        """Send the forward's present state to the guest as soon as the connection takes it."""
        if self.guest:
            self._changed[name] = None
            if not self._blocked:
                self._flush()

    def close(self) -> None:
        """Disconnect the guest and remove the socket."""
        self._disconnect("the host's forwarder stops")
        self._loop.remove_reader(self._listener)
        if self._accept_later:
            self._accept_later.cancel()
        Path(self._listener.getsockname()).unlink(missing_ok=True)
        self._listener.close()

    def _listen(self) -> None:
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        """Accept a connection, and none for a moment after it."""
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        self._loop.remove_reader(self._listener)
        self._accept_later = self._loop.call_later(RECONNECT_SECONDS, self._listen)
        self._disconnect("replaced by a newer connection")
        sock.setblocking(False)
        self._connection = HandoffConnection(sock, FROM_GUEST)
        self._loop.add_reader(sock, self._receive)
        self._send_hello(self._connection)

    def _send_hello(self, connection: HandoffConnection) -> None:
        try:
            connection.send(Hello())
        except OSError as error:
            self._disconnect(str(error))

    def _receive(self) -> None:
        if self._connection is None:
            return
        try:
            message, _ = self._connection.receive()
        except BlockingIOError:
            return
        except EOFError:
            self._disconnect("the guest's forwarder went away")
        except (OSError, HandoffError) as error:
            self._disconnect(str(error))
        else:
            if isinstance(message, Hello):
                self._handle_hello(self._connection.sock)
            else:
                self.table.receive(message)

    def _handle_hello(self, sock: socket.socket) -> None:
        """Note that the guest is ready, and send it all forwards."""
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.guest = ConnectedGuest(pid=struct.unpack("3i", credentials)[0], since=time.time())
        log.info("guest connected, pid %d", self.guest.pid)
        self._changed = dict.fromkeys(self.table.bound_names())
        self._flush()

    def _flush(self) -> None:
        """Send the changed forwards; go on when the socket is writable if it is full."""
        if self._connection is None:
            return
        sock = self._connection.sock
        try:
            for name in list(self._changed):
                self._connection.send(*self.table.message_for(name))
                self.table.message_sent(name)
                del self._changed[name]
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
        log.warning("channel to the guest closed: %s", reason)
        self._loop.remove_reader(self._connection.sock)
        self._loop.remove_writer(self._connection.sock)
        self._connection.sock.close()
        self._connection = None
        self._blocked = False
        self._changed.clear()
        if self.guest:
            self.guest = None
            self.table.guest_lost()
