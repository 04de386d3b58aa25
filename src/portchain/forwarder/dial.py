"""Connecting a client that waits to its target."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from select import EPOLLOUT
from typing import Protocol

from .address import Address, keep_alive
from .loop import Loop
from .relay import reset

DIAL_SECONDS = 10.0
PAUSE_SECONDS = 0.1
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Waiting(Protocol):
    """Who has a client connected."""

    def connected(self, dial: Dial, target: socket.socket) -> None:
        """The dial ended with a connection to ``target``."""

    def failed(self, dial: Dial, reason: str) -> None:
        """The dial ended with a reset of the client, ``reason`` being what the last address gave."""

    def no_room(self) -> None:
        """There are no descriptors for a target just now; the dial goes on."""


class Dial:
    """Tries ``addresses`` in turn for ``client``, from `start` on, and tells ``owner`` how it ends."""

    def __init__(
        self,
        loop: Loop,
        client: socket.socket,
        addresses: Sequence[tuple[socket.AddressFamily, Address]],
        owner: Waiting,
    ) -> None:
        self.client = client
        self._loop = loop
        self._addresses = list(addresses)
        self._owner = owner
        self._target: socket.socket | None = None
        self._done = False

    def start(self) -> None:
        """Begin; the end may come before this returns."""
        self._try()
        if not self._done:
            self._loop.later(DIAL_SECONDS, self._expire)

    def _try(self) -> None:
        """Connect. On the machine's own addresses a second call at once says how it went."""
        if self._done:
            return
        try:
            target = self._target = self._target or self._open()
        except OSError as error:
            if error.errno in NO_ROOM:
                self._owner.no_room()
                self._loop.later(PAUSE_SECONDS, self._try)
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
            self._loop.later(PAUSE_SECONDS, self._try)
        else:
            self._refused(os.strerror(code))

    def _open(self) -> socket.socket:
        target = socket.socket(self._addresses[0][0], socket.SOCK_STREAM)
        target.setblocking(False)
        if target.family != socket.AF_UNIX:
            keep_alive(target)
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
        """Go on to the next address, if there is one."""
        self._addresses.pop(0)
        if not self._addresses:
            self._fail(reason)
            return
        if self._target:
            self._loop.close(self._target)
            self._target = None
        self._try()

    def _expire(self) -> None:
        if not self._done:
            self._fail(f"no answer within {DIAL_SECONDS:g} s")

    def _fail(self, reason: str) -> None:
        self.abort()
        self._owner.failed(self, reason)

    def abort(self) -> None:
        """Give up; the client sees a reset."""
        self._done = True
        if self._target:
            self._loop.close(self._target)
        reset(self.client)
        self._loop.close(self.client)
