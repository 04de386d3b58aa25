"""A connection for messages in an epoll loop: what the other side does not read yet waits in order."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from select import EPOLLIN, EPOLLOUT
from typing import Protocol

from ..protocol.packets import Message, PacketConnection, ProtocolError
from .dialling import OUT_OF_RESOURCES
from .loop import Loop

RETRY_SECONDS = 0.2


class LinkOwner(Protocol):
    """Whose link it is."""

    def receive(self, message: Message, descriptors: list[int]) -> None:
        """Handle a message; keep or close the descriptors that came with it. Raise ProtocolError."""

    def lost(self, reason: str) -> None:
        """Do without the link, which is closed now."""


class PacketLink:
    """Sends and receives messages until `close`, or until the link is lost. ``peer`` names the other side.

    While the other side does not read, nothing is read from it, so that the queue of answers is bounded.
    """

    def __init__(self, loop: Loop, connection: PacketConnection, owner: LinkOwner, peer: str) -> None:
        self._loop = loop
        self._connection = connection
        self._owner = owner
        self._peer = peer
        self._outgoing: deque[tuple[Message, Sequence[socket.socket]]] = deque()
        self._closed = False
        self._watch(EPOLLIN)

    @property
    def clear(self) -> bool:
        """Whether all messages have been sent."""
        return not self._outgoing

    def send(self, message: Message, sockets: Sequence[socket.socket] = ()) -> None:
        """Send a message, and sockets, which are then the other side's."""
        self._outgoing.append((message, sockets))
        self._flush()

    def send_rest(self, timeout: float) -> PacketConnection:
        """Send the messages that wait; return the connection, whose operations may block now. Raise OSError.

        ``timeout`` is in seconds, for each operation.
        """
        self._connection.sock.settimeout(timeout)
        while self._outgoing:
            self._send_first()
        return self._connection

    def close(self) -> None:
        """Close the connection, and the sockets that are not sent."""
        self._closed = True
        self._loop.close(self._connection.sock)
        while self._outgoing:
            _close_all(self._outgoing.popleft()[1])

    def _watch(self, mask: int) -> None:
        self._loop.watch(self._connection.sock.fileno(), mask, self._ready)

    def _ready(self, mask: int) -> None:
        if mask & EPOLLOUT:
            self._flush()
            return
        try:
            self._owner.receive(*self._connection.receive())
        except BlockingIOError:
            return
        except EOFError:
            self._lose(f"{self._peer} went away")
        except (OSError, ProtocolError) as error:
            self._lose(str(error))

    def _flush(self) -> None:
        if self._closed:
            return
        try:
            while self._outgoing:
                self._send_first()
        except BlockingIOError:
            self._watch(EPOLLOUT)
        except OSError as error:
            if error.errno in OUT_OF_RESOURCES:  # too many descriptors on their way
                self._loop.later(RETRY_SECONDS, self._flush)
            else:
                self._lose(str(error))
        else:
            self._watch(EPOLLIN)

    def _send_first(self) -> None:
        message, sockets = self._outgoing[0]
        self._connection.send(message, [sock.fileno() for sock in sockets])
        self._outgoing.popleft()
        _close_all(sockets)

    def _lose(self, reason: str) -> None:
        if not self._closed:
            self.close()
            self._owner.lost(reason)


def _close_all(sockets: Sequence[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
