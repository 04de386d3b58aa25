"""Dial the targets of a client in turn."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from select import EPOLLOUT
from typing import Protocol

from .loop import Loop
from .relay import reset
from .socket_address import Address, keep_alive

DIAL_SECONDS = 10.0
PAUSE_SECONDS = 0.1
OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Dialling(Protocol):
    """A client whose target is being dialled."""

    client: socket.socket

    def start(self) -> None:
        """Begin dialling; the outcome may come before this returns."""

    def abort(self) -> None:
        """Give up and reset the client."""


class DialOwner(Protocol):
    """Receives the outcome of a dial."""

    def connected(self, dial: Dialling, target: socket.socket) -> None:
        """Take over the client of ``dial`` and its connection to ``target``."""

    def failed(self, dial: Dialling, reason: str) -> None:
        """Note that no address could be dialled, the last one for ``reason``; the client has been reset."""

    def no_room(self) -> None:
        """Note that there are no descriptors or memory for a target at present; the dial goes on."""


def open_socket(family: int) -> socket.socket:
    """Return a stream socket of the caller's own network; raise OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    if family != socket.AF_UNIX:
        keep_alive(sock)
    return sock


class Dial:
    """Dials ``addresses`` in turn for ``client`` and tells ``owner`` the outcome.

    ``open_target`` returns a socket of the family it is given, or raises OSError.
    """

    def __init__(
        self,
        loop: Loop,
        client: socket.socket,
        addresses: Sequence[tuple[socket.AddressFamily, Address]],
        owner: DialOwner,
        open_target: Callable[[int], socket.socket] = open_socket,
    ) -> None:
        self.client = client
        self._loop = loop
        self._addresses = list(addresses)
        self._owner = owner
        self._open_target = open_target
        self._target: socket.socket | None = None
        self._done = False

    def start(self) -> None:
        """Begin dialling; the outcome may come before this returns."""
        self._dial()
        if not self._done:
            self._loop.later(DIAL_SECONDS, self._expire)

    def _dial(self) -> None:
        """Dial the first address. For one of the machine's own, a second connect at once returns the outcome."""
        if self._done:
            return
        try:
            target = self._target = self._target or self._open()
        except OSError as error:
            if error.errno in OUT_OF_RESOURCES:
                self._owner.no_room()
                self._loop.later(PAUSE_SECONDS, self._dial)
            else:
                self._refused(str(error))
            return
        address = self._addresses[0][1]
        code = target.connect_ex(address)
        if code == errno.EINPROGRESS:
            code = target.connect_ex(address)
        if code in (0, errno.EISCONN):
            self._connected(target)
        elif code == errno.EALREADY:
            self._loop.watch(target.fileno(), EPOLLOUT, lambda _: self._ready(target))
        elif code == errno.EAGAIN:  # a unix listener's backlog is full
            self._loop.later(PAUSE_SECONDS, self._dial)
        else:
            self._refused(os.strerror(code))

    def _open(self) -> socket.socket:
        target = self._open_target(self._addresses[0][0])
        target.setblocking(False)
        return target

    def _ready(self, target: socket.socket) -> None:
        code = target.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._refused(os.strerror(code))
        else:
            self._loop.forget(target.fileno())
            self._connected(target)

    def _connected(self, target: socket.socket) -> None:
        self._done = True
        self._owner.connected(self, target)

    def _refused(self, reason: str) -> None:
        """Dial the next address, or fail if there is none."""
        self._addresses.pop(0)
        if not self._addresses:
            self._fail(reason)
            return
        if self._target:
            self._loop.close(self._target)
            self._target = None
        self._dial()

    def _expire(self) -> None:
        if not self._done:
            self._fail(f"no answer within {DIAL_SECONDS:g} s")

    def _fail(self, reason: str) -> None:
        self.abort()
        self._owner.failed(self, reason)

    def abort(self) -> None:
        """Give up and reset the client."""
        self._done = True
        if self._target:
            self._loop.close(self._target)
        reset(self.client)
        self._loop.close(self.client)
