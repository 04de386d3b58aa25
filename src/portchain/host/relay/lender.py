"""The guest that lends sockets: the relay's end of the channel to vpnkit-forwarder."""

from __future__ import annotations

import contextlib
import itertools
import logging
import socket
from select import EPOLLIN
from typing import Protocol

from ...net.dialling import DIAL_SECONDS, Dial, Dialling, DialOwner
from ...net.loop import Loop
from ...net.relay import reset
from ...net.socket_address import peer_credentials, socket_address
from ...ports.forward import Endpoint
from ...protocol.lending import VERSION, Lend, Open, Opened, Refused, Unanswered, Want, from_guest, kind_of
from ...protocol.packets import MAX_DESCRIPTORS, Hello, Message, PacketConnection, ProtocolError
from .discarding import Discarder
from .lent_sockets import LentSockets, take_socket

RECONNECT_SECONDS = 0.1
BACKLOG = 4  # connections that wait: each that a guest has made and left costs the next one RECONNECT_SECONDS
GRACE_SECONDS = 5.0  # within which a guest's vpnkit-forwarder is there again after it ended
MAX_OPENING = 256  # connections to unix sockets that the guest is asked for at a time

log = logging.getLogger("relay")


class LenderOwner(Protocol):
    """What is told of the guest."""

    def guest_connected(self, pid: int) -> None:
        """Note that the guest is connected."""

    def guest_lost(self, reason: str) -> None:
        """Note that the guest is not connected any more; its connections go on."""

    def guest_gone(self) -> None:
        """End all connections: the guest did not come back, or is another one now."""

    def lent(self) -> None:
        """Note that there are sockets again."""


class Lender:
    """Keeps sockets of the guest's network ready, and dials the guest's targets with them.

    A newer connection of the guest replaces an older one.
    """

    def __init__(self, loop: Loop, listener: socket.socket, owner: LenderOwner, discarder: Discarder) -> None:
        self._loop = loop
        self._listener = listener
        self._owner = owner
        self._discarder = discarder
        self._sockets = LentSockets()
        self._kinds: set[str] = set()
        self._cookie = 0
        self._connection: PacketConnection | None = None
        self._greeted = False
        self._losses = 0
        self._opening: dict[int, OpenRequest] = {}
        self._ids = itertools.count()
        listener.setblocking(False)
        self._listen()

    @property
    def connected(self) -> bool:
        """Whether the guest is there."""
        return self._greeted

    def ready(self, target: Endpoint) -> bool:
        """Return whether ``target`` can be dialled now."""
        if not self._greeted:
            return False
        if target.protocol == "unix":
            return len(self._opening) < MAX_OPENING
        return self.count(target) > 0

    def count(self, target: Endpoint) -> int:
        """Return how many sockets there are for ``target``, which is not a unix socket; ask for some if few are."""
        kind = kind_of(target.protocol, socket_address(target)[0])
        self._kinds.add(kind)
        self._ask(kind)
        return self._sockets.count(kind)

    def expect(self, target: Endpoint) -> None:
        """Have sockets for ``target`` ready by the time its first client comes."""
        if target.protocol != "unix":
            self.count(target)

    def dial(self, client: socket.socket, target: Endpoint, owner: DialOwner) -> Dialling:
        """Return a dial of ``target`` for ``client``, which has not begun."""
        if target.protocol == "unix":
            return OpenRequest(self, client, target, owner)
        return Dial(self._loop, client, [socket_address(target)], owner, lambda family: self.take("tcp", family))

    def take(self, protocol: str, family: int) -> socket.socket:
        """Return a socket of the guest's network, neither bound nor connected; raise OSError if there is none."""
        kind = kind_of(protocol, family)
        sock = self._sockets.take(kind)
        self._ask(kind)
        return sock

    def request(self, dial: OpenRequest) -> None:
        """Ask the guest for a connection to a unix socket."""
        number = next(self._ids)
        self._opening[number] = dial
        self._send(Open(number, dial.target.address))
        self._loop.later(DIAL_SECONDS, lambda: self._answer(number, None, f"no answer within {DIAL_SECONDS:g} s"))

    def report_unanswered(self, flow: socket.socket, refused: bool) -> None:
        """Tell the guest, if it reads, of a connected udp socket whose datagrams were not answered, or were refused."""
        with contextlib.suppress(OSError):
            source, target = (Endpoint("udp", *name[:2]) for name in (flow.getsockname(), flow.getpeername()))
            if self._connection:
                self._connection.send(Unanswered(str(source), str(target), int(refused)))

    def _listen(self) -> None:
        self._loop.watch(self._listener.fileno(), EPOLLIN, self._accept)

    def _accept(self, _mask: int) -> None:
        """Accept a connection, and none for a moment after it."""
        self._loop.forget(self._listener.fileno())
        self._loop.later(RECONNECT_SECONDS, self._listen)
        if self._discarder.full:
            log.warning("the guest may not connect: files that it sent cannot be closed")
            return
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        self._disconnect("replaced by a newer connection")
        sock.setblocking(False)
        self._connection = PacketConnection(sock, from_guest(), MAX_DESCRIPTORS, self._discarder.close_all)
        self._loop.watch(sock.fileno(), EPOLLIN, self._receive)
        self._send(Hello(VERSION))

    def _receive(self, mask: int) -> None:
        if self._connection is None:
            return
        try:
            if mask & EPOLLIN:
                self._handle(*self._connection.receive())
        except BlockingIOError:
            return
        except EOFError:
            self._disconnect("vpnkit-forwarder went away")
        except (OSError, ProtocolError) as error:
            self._disconnect(str(error))

    def _handle(self, message: Message, descriptors: list[int]) -> None:
        """Do what a message says; what it leaves in ``descriptors`` is closed."""
        try:
            if isinstance(message, Lend):
                self._take_in(message.kind, descriptors)
            elif isinstance(message, Opened) and len(descriptors) == 1:
                self._opened(message.id, descriptors)
            elif descriptors:
                raise ProtocolError(f"{type(message).__name__.lower()} with descriptors")
            elif isinstance(message, Refused):
                self._answer(message.id, None, message.error)
            elif isinstance(message, Hello):
                self._greet()
        finally:
            self._discarder.close_all(descriptors)

    def _greet(self) -> None:
        assert self._connection
        pid = peer_credentials(self._connection.sock).pid
        self._greeted = True
        log.info("guest connected, pid %d", pid)
        for kind in self._kinds:
            self._ask(kind)
        self._owner.guest_connected(pid)

    def _take_in(self, kind: str, descriptors: list[int]) -> None:
        cookie = self._sockets.add(kind, descriptors)
        if self._cookie and cookie and cookie != self._cookie:
            self._owner.guest_gone()
        self._cookie = cookie or self._cookie
        self._owner.lent()

    def _opened(self, number: int, descriptors: list[int]) -> None:
        target = take_socket(descriptors[0], socket.AF_UNIX, socket.SOCK_STREAM, 0)
        descriptors.clear()
        target.setblocking(False)
        self._answer(number, target, "")

    def _answer(self, number: int, target: socket.socket | None, error: str) -> None:
        dial = self._opening.pop(number, None)
        if dial and target:
            dial.connected(target)
        elif dial:
            dial.failed(error)
        elif target:
            target.close()

    def _ask(self, kind: str) -> None:
        """Ask for sockets of ``kind`` if few are left."""
        if self._greeted and (count := self._sockets.shortage(kind)):
            self._send(Want(kind, count))

    def _send(self, message: Message) -> None:
        """Send a message; a guest that does not read is disconnected, for what it is told is never more than a few."""
        if self._connection is None:
            return
        try:
            self._connection.send(message)
        except OSError as error:
            self._disconnect(f"vpnkit-forwarder does not read: {error}")

    def _disconnect(self, reason: str) -> None:
        if self._connection is None:
            return
        log.warning("channel to the guest closed: %s", reason)
        descriptor = self._connection.sock.detach()
        self._loop.forget(descriptor)
        self._loop.later(0, lambda: self._discarder.close_all([descriptor]))  # with descriptors that are on their way
        self._connection = None
        self._sockets.clear()
        for number in list(self._opening):
            self._answer(number, None, reason)
        if self._greeted:
            self._greeted = False
            self._losses += 1
            losses = self._losses
            self._loop.later(GRACE_SECONDS, lambda: self._give_up(losses))
            self._owner.guest_lost(reason)

    def _give_up(self, losses: int) -> None:
        """End the connections into the guest if it was not there since its loss number ``losses``."""
        if losses == self._losses and not self._greeted:
            self._owner.guest_gone()


class OpenRequest:
    """A client whose target, a unix socket of the guest, the guest connects to."""

    def __init__(self, lender: Lender, client: socket.socket, target: Endpoint, owner: DialOwner) -> None:
        self.client = client
        self.target = target
        self._lender = lender
        self._owner = owner
        self._aborted = False

    def start(self) -> None:
        """Ask the guest; the outcome may come before this returns."""
        self._lender.request(self)

    def connected(self, target: socket.socket) -> None:
        """Take over a connection to the target."""
        if self._aborted:
            target.close()
        else:
            self._owner.connected(self, target)

    def failed(self, reason: str) -> None:
        """Reset the client, because the target cannot be connected."""
        if not self._aborted:
            self.abort()
            self._owner.failed(self, reason)

    def abort(self) -> None:
        """Give up and reset the client."""
        self._aborted = True
        reset(self.client)
        self.client.close()
