"""vpnkit-forwarder: serve the guest's end of every forward, as the host's forwarder asks."""

from __future__ import annotations

import logging
import resource
import socket
from collections import deque
from select import EPOLLIN, EPOLLOUT

from ....linux import daemon_log
from ....net.accepting import Acceptor
from ....net.loop import Loop
from ....protocol.handoff import (
    FROM_HOST,
    Close,
    Failed,
    HandoffConnection,
    HandoffError,
    Hello,
    Listen,
    Listening,
    Message,
)
from .udp_dialer import UdpDialer

CHANNEL = "/run/host-services/forwarder.sock"
RETRY_SECONDS = 0.2
REPORT_SECONDS = 1.0

log = logging.getLogger("vpnkit-forwarder")


class ChannelEnd:
    """Keeps a connection to the host's forwarder and serves the forwards that it asks for."""

    def __init__(self, loop: Loop, path: str) -> None:
        self._loop = loop
        self._path = path
        self._acceptor = Acceptor(loop, self._schedule_report)
        self._dialer = UdpDialer(loop, self._schedule_report)
        self._connection: HandoffConnection | None = None
        self._outgoing: deque[Message] = deque()
        self._report_due = False
        self._connect()

    def _connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.setblocking(False)
        if sock.connect_ex(self._path) != 0:
            sock.close()
            self._loop.later(RETRY_SECONDS, self._connect)
            return
        self._connection = HandoffConnection(sock, FROM_HOST, max_descriptors=1)
        self._loop.watch(sock.fileno(), EPOLLIN, self._ready)
        self._send(Hello())

    def _ready(self, mask: int) -> None:
        connection = self._connection
        if connection is None:
            return
        if mask & EPOLLOUT:
            self._flush()
            return
        try:
            message, descriptors = connection.receive()
            self._handle(message, descriptors)
        except BlockingIOError:
            return
        except (EOFError, OSError) as error:
            self._disconnect(str(error) or "the host's forwarder went away")
        except HandoffError as error:
            self._disconnect(str(error))

    def _handle(self, message: Message, descriptors: list[int]) -> None:
        if isinstance(message, Listen):
            if not descriptors:
                raise HandoffError("listen without a descriptor")
            try:
                server = self._dialer if message.target.startswith("udp:") else self._acceptor
                server.listen(message, descriptors[0])
                self._send(Listening(message.id))
            except ValueError as error:
                self._send(Failed(message.id, f"guest: {error}"))
            return
        for descriptor in descriptors:
            socket.close(descriptor)
        if isinstance(message, Close):
            self._acceptor.close(message.id)
            self._dialer.close(message.id)
        elif isinstance(message, Hello):
            log.info("connected to the host's forwarder")

    def _disconnect(self, reason: str) -> None:
        """Close all listeners, so that a new forwarder can bind, and connect again later."""
        if self._connection is None:
            return
        log.warning("channel to the host closed: %s", reason)
        self._loop.close(self._connection.sock)
        self._connection = None
        self._outgoing.clear()
        self._acceptor.close_listeners()
        self._dialer.close_all()
        self._loop.later(RETRY_SECONDS, self._connect)

    def _send(self, message: Message) -> None:
        self._outgoing.append(message)
        self._flush()

    def _flush(self) -> None:
        """Send queued messages. While the host does not read, nothing is read from it, so that the queue is bounded."""
        connection = self._connection
        if connection is None:
            return
        try:
            while self._outgoing:
                connection.send(self._outgoing[0])
                self._outgoing.popleft()
        except BlockingIOError:
            self._loop.watch(connection.sock.fileno(), EPOLLOUT, self._ready)
        except OSError as error:
            self._disconnect(str(error))
        else:
            self._loop.watch(connection.sock.fileno(), EPOLLIN, self._ready)

    def _schedule_report(self) -> None:
        if not self._report_due:
            self._report_due = True
            self._loop.later(REPORT_SECONDS, self._report)

    def _report(self) -> None:
        self._report_due = False
        if self._connection and not self._outgoing:
            for counters in (*self._acceptor.counters(), *self._dialer.counters()):
                self._send(counters)
        if self._acceptor.busy or self._dialer.busy:
            self._schedule_report()


def raise_descriptor_limit() -> None:
    """Raise the limit of open descriptors to the hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(path: str = CHANNEL) -> None:
    """Serve for ever."""
    daemon_log.configure(log.name)
    raise_descriptor_limit()
    loop = Loop()
    ChannelEnd(loop, path)
    loop.run()
