"""The host's end of the channel to vpnkit-forwarder in the guest."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from ..channel.handoff import FROM_GUEST, VERSION, Connection, Hello, ProtocolError
from .listener import open_unix_listener
from .table import Table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Guest:
    """The connected guest end: its pid as the host sees it, and since when (seconds since 1970)."""

    pid: int
    since: float
    channel_version: int = VERSION


class GuestLink:
    """Tells the guest what changed in the table and takes in what it reports. A newer connection replaces the older."""

    def __init__(self, path: Path, guest_uid: int) -> None:
        self.guest: Guest | None = None
        self.table: Table
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._changed: dict[str, None] = {}
        self._full = False
        self._listener = open_unix_listener(path, guest_uid, socket.SOCK_SEQPACKET)
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._accept)

    def changed(self, name: str) -> None:
        """The guest must hear of this forward. What it is told is what holds when it can be told."""
        if self.guest:
            self._changed[name] = None
            if not self._full:
                self._flush()

    def close(self) -> None:
        """Stop."""
        self._drop("the host's forwarder stops")
        self._loop.remove_reader(self._listener)
        Path(self._listener.getsockname()).unlink(missing_ok=True)
        self._listener.close()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        self._drop("replaced by a newer connection")
        sock.setblocking(False)
        self._connection = Connection(sock, FROM_GUEST)
        self._loop.add_reader(sock, self._receive)
        self._send_hello(self._connection)

    def _send_hello(self, connection: Connection) -> None:
        try:
            connection.send(Hello())
        except OSError as error:
            self._drop(str(error))

    def _receive(self) -> None:
        if self._connection is None:
            return
        try:
            message, _ = self._connection.receive()
        except BlockingIOError:
            return
        except EOFError:
            self._drop("the guest's forwarder went away")
        except (OSError, ProtocolError) as error:
            self._drop(str(error))
        else:
            if isinstance(message, Hello):
                self._greeted(self._connection.sock)
            else:
                self.table.receive(message)

    def _greeted(self, sock: socket.socket) -> None:
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.guest = Guest(pid=struct.unpack("3i", credentials)[0], since=time.time())
        log.info("guest connected, pid %d", self.guest.pid)
        self._changed = dict.fromkeys(self.table.bound_names())
        self._flush()

    def _flush(self) -> None:
        if self._connection is None:
            return
        sock = self._connection.sock
        try:
            for name in list(self._changed):
                self._connection.send(*self.table.message_for(name))
                self.table.told(name)
                del self._changed[name]
        except BlockingIOError:
            self._full = True
            self._loop.add_writer(sock, self._flush)
        except OSError as error:
            self._drop(str(error))
        else:
            self._full = False
            self._loop.remove_writer(sock)

    def _drop(self, reason: str) -> None:
        if self._connection is None:
            return
        log.warning("channel to the guest closed: %s", reason)
        self._loop.remove_reader(self._connection.sock)
        self._loop.remove_writer(self._connection.sock)
        self._connection.sock.close()
        self._connection = None
        self._full = False
        self._changed.clear()
        if self.guest:
            self.guest = None
            self.table.guest_lost()
