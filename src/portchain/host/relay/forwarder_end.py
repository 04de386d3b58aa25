"""The relay's end of the handoff: serve the forwards that the guest's forwarder asks for, and report on them."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from select import EPOLLIN

from ...net.accepting import Acceptor
from ...net.loop import Loop
from ...net.packet_link import PacketLink
from ...net.relay import RelayState
from ...ports.forward import Endpoint
from ...protocol.handoff import (
    MAX_DESCRIPTORS,
    VERSION,
    Close,
    Closed,
    Connection,
    Failed,
    GuestConnected,
    GuestLost,
    Listen,
    Listening,
    Serve,
    UdpClient,
    from_forwarder,
)
from ...protocol.packets import Hello, Message, PacketConnection, ProtocolError, close_all
from .discarding import Discarder
from .lender import Lender
from .udp_forwards import UdpForwards

REPORT_SECONDS = 1.0
HAND_ON_SECONDS = 5.0

log = logging.getLogger("relay")


class ForwarderEnd:
    """Serves forwards with the sockets of a guest. A newer connection of the forwarder replaces an older one."""

    def __init__(self, loop: Loop, listener: socket.socket, lending: socket.socket, discarder: Discarder) -> None:
        self._loop = loop
        self._listener = listener
        self._lender = Lender(loop, lending, self, discarder)
        self._streams = Acceptor(loop, self._schedule_report, self._lender)
        self._datagrams = UdpForwards(loop, self._lender, self._schedule_report)
        self._served: dict[str, Listening | Failed] = {}
        self._guest: GuestConnected | None = None
        self._link: PacketLink | None = None
        self._report_due = False
        listener.setblocking(False)
        loop.watch(listener.fileno(), EPOLLIN, self._accept)

    def guest_connected(self, pid: int) -> None:
        """Tell the forwarder that the guest is there, and serve all forwards."""
        self._guest = GuestConnected(pid)
        self._streams.unpause()
        self._tell_of_guest()

    def guest_lost(self, reason: str) -> None:
        """Tell the forwarder that the guest is away; clients wait."""
        self._guest = None
        self._send(GuestLost(reason))

    def guest_gone(self) -> None:
        """End all connections into the guest."""
        self._streams.abort_connections()
        self._datagrams.forget_clients()
        self._schedule_report()

    def lent(self) -> None:
        """Take clients again, if that was paused for want of sockets."""
        self._streams.unpause()
        self._datagrams.unpause()

    def _accept(self, _mask: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if self._link:
            self._link.close()
            self.lost("replaced by a newer connection")
        sock.setblocking(False)
        connection = PacketConnection(sock, from_forwarder(), MAX_DESCRIPTORS)
        self._link = PacketLink(self._loop, connection, self, "the forwarder")
        self._send(Hello(VERSION))

    def receive(self, message: Message, descriptors: list[int]) -> None:
        """Handle a message from the forwarder; raise ProtocolError."""
        if isinstance(message, Listen):
            if not descriptors:
                raise ProtocolError("listen without a descriptor")
            self._serve(message, descriptors[0])
            return
        if isinstance(message, Connection | UdpClient):
            self._resume(message, descriptors)
            return
        close_all(descriptors)
        if isinstance(message, Close):
            self._served.pop(message.id, None)
            self._streams.close(message.id)
            self._datagrams.close(message.id)
            self._loop.later(0, lambda: self._send(Closed(message.id)))
        elif isinstance(message, Serve):
            self._datagrams.serve()
        elif isinstance(message, Hello):
            log.info("connected to the forwarder")
            self._tell_of_guest()

    def hand_on(self) -> None:
        """Send all connections to the forwarder, which hands them to the relay that follows."""
        if self._link is None:
            return
        count = 0
        try:
            connection = self._link.send_rest(HAND_ON_SECONDS)
            for counters in (*self._streams.counters(), *self._datagrams.counters()):
                connection.send(counters)
            for message, descriptors in self._suspend():
                connection.send(message, descriptors)
                count += 1
        except OSError as error:
            log.warning("not all connections could be handed on: %s", error)
        log.info("handed on %d connections", count)

    def _suspend(self) -> Iterator[tuple[Message, list[int]]]:
        for name, state in self._streams.suspend():
            yield Connection(name, *state.held, state.ended), state.descriptors
        for name, peer, sock in self._datagrams.suspend():
            yield UdpClient(name, peer.hex()), [sock.fileno()]

    def _resume(self, message: Connection | UdpClient, descriptors: list[int]) -> None:
        """Go on with a connection of the relay before."""
        try:
            if isinstance(message, UdpClient):
                self._datagrams.resume(message.id, bytes.fromhex(message.peer), descriptors[0])
            else:
                state = RelayState(descriptors, (message.from_client, message.from_target), message.ended)
                self._streams.resume(message.id, state)
        except (OSError, ValueError, IndexError, StopIteration) as error:
            log.warning("a connection of %s is lost: %s", message.id, error)
        self._schedule_report()

    def _serve(self, message: Listen, descriptor: int) -> None:
        server = self._datagrams if message.target.startswith("udp:") else self._streams
        try:
            server.listen(message, descriptor)
        except ValueError as error:
            self._served[message.id] = Failed(message.id, f"host: {error}")
        else:
            self._served[message.id] = Listening(message.id)
            self._lender.expect(Endpoint.parse(message.target))
        if self._guest:
            self._send(self._served[message.id])

    def _tell_of_guest(self) -> None:
        if self._guest:
            self._send(self._guest)
            for state in list(self._served.values()):
                self._send(state)

    def lost(self, reason: str) -> None:
        """Close all listeners, so that a new forwarder can bind; connections go on."""
        log.warning("connection to the forwarder closed: %s", reason)
        self._link = None
        self._served.clear()
        self._streams.close_listeners()
        self._datagrams.close_listeners()

    def _send(self, message: Message) -> None:
        if self._link:
            self._link.send(message)

    def _schedule_report(self) -> None:
        if not self._report_due:
            self._report_due = True
            self._loop.later(REPORT_SECONDS, self._report)

    def _report(self) -> None:
        self._report_due = False
        if self._link and self._link.clear:
            for counters in (*self._streams.counters(), *self._datagrams.counters()):
                self._send(counters)
        if self._streams.busy or self._datagrams.busy:
            self._schedule_report()
