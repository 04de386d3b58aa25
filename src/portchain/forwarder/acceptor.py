"""Accepts on listening sockets, dials each one's target and relays."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from select import EPOLLHUP, EPOLLIN, EPOLLOUT

from ..channel.handoff import Counters
from ..mapping.forward import Endpoint
from .address import keep_alive, socket_address
from .loop import Loop
from .relay import Meter, Relay, reset

DIAL_SECONDS = 10.0
PAUSE_SECONDS = 0.1
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass
class _Totals:
    connections: int = 0
    received: int = 0
    sent: int = 0


class _Forward:
    """A listener, its target, the connections that came through it."""

    def __init__(self, name: str, target: Endpoint, listener: socket.socket) -> None:
        self.name = name
        self.family, self.address = socket_address(target)
        self.target = target
        self.listener: socket.socket | None = listener
        self.connections = 0
        self.meters = Meter(), Meter()
        self.open: set[Relay | _Dial] = set()
        self.error = ""
        self._reported = _Totals()
        self._reported_active = 0

    def counters(self) -> Counters | None:
        """What was added since the last call, None if nothing changed."""
        received, sent = self.meters
        now, before = _Totals(self.connections, received.bytes, sent.bytes), self._reported
        if now == before and not self.error and len(self.open) == self._reported_active:
            return None
        self._reported, self._reported_active, error, self.error = now, len(self.open), self.error, ""
        return Counters(
            self.name,
            now.connections - before.connections,
            len(self.open),
            now.received - before.received,
            now.sent - before.sent,
            error,
        )


class _Dial:
    """A client that waits for its target."""

    def __init__(self, loop: Loop, forward: _Forward, client: socket.socket, on_no_room: Callable[[], None]) -> None:
        self._loop = loop
        self._forward = forward
        self._client = client
        self._on_no_room = on_no_room
        self._target: socket.socket | None = None
        self._done = False
        forward.open.add(self)
        self._try()
        if not self._done:
            loop.later(DIAL_SECONDS, self._expire)

    def _try(self) -> None:
        """Connect. On the guest's own addresses a second call at once says how it went."""
        if self._done:
            return
        try:
            target = self._target = self._target or self._open()
        except OSError as error:
            if error.errno in _NO_ROOM:
                self._on_no_room()
                self._loop.later(PAUSE_SECONDS, self._try)
            else:
                self._fail(str(error))
            return
        code = target.connect_ex(self._forward.address)
        if code == errno.EINPROGRESS:
            code = target.connect_ex(self._forward.address)
        if code in (0, errno.EISCONN):
            self._connected(target)
        elif code == errno.EALREADY:
            self._loop.watch(target.fileno(), EPOLLOUT, lambda _: self._ready(target))
        elif code == errno.EAGAIN:  # a unix listener's backlog is full
            self._loop.later(PAUSE_SECONDS, self._try)
        else:
            self._fail(os.strerror(code))

    def _open(self) -> socket.socket:
        target = socket.socket(self._forward.family, socket.SOCK_STREAM)
        target.setblocking(False)
        if target.family != socket.AF_UNIX:
            keep_alive(target)
        return target

    def _ready(self, target: socket.socket) -> None:
        code = target.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._fail(os.strerror(code))
        else:
            self._loop.forget(target.fileno())
            self._connected(target)

    def _connected(self, target: socket.socket) -> None:
        self._done = True
        forward = self._forward
        forward.open.discard(self)
        forward.open.add(Relay(self._loop, self._client, target, forward.meters, forward.open.discard))

    def _expire(self) -> None:
        if not self._done:
            self._fail(f"no answer within {DIAL_SECONDS:g} s")

    def _fail(self, reason: str) -> None:
        self._forward.error = f"guest: connecting to {self._forward.target}: {reason}"
        self.abort()

    def abort(self) -> None:
        """Give up; the client sees a reset."""
        self._done = True
        self._forward.open.discard(self)
        if self._target:
            self._loop.close(self._target)
        reset(self._client)
        self._loop.close(self._client)


class Acceptor:
    """The forwards being served, by name; ``on_activity`` is called when there will be something to report."""

    def __init__(self, loop: Loop, on_activity: Callable[[], None]) -> None:
        self._loop = loop
        self._on_activity = on_activity
        self._forwards: dict[str, _Forward] = {}
        self._paused = False

    def listen(self, name: str, target: str, descriptor: int) -> None:
        """Serve a forward on a listening descriptor, ours from now on; raise ValueError for a target not understood.

        A forward of that name with the same target keeps its connections and changes its listener; another is closed.
        """
        listener = socket.socket(fileno=descriptor)
        try:
            endpoint = Endpoint.parse(target)
            forward = self._forwards.get(name)
            if forward and forward.target != endpoint:
                self.close(name)
                forward = None
            if forward:
                self._close_listener(forward)
                forward.listener = listener
            else:
                forward = self._forwards[name] = _Forward(name, endpoint, listener)
        except ValueError:
            listener.close()
            raise
        listener.setblocking(False)
        self._watch(forward)

    def close(self, name: str) -> None:
        """End a forward and its connections."""
        forward = self._forwards.pop(name, None)
        if forward:
            self._close_listener(forward)
            for connection in list(forward.open):
                connection.abort()

    def close_listeners(self) -> None:
        """Let go of the listeners; connections live on."""
        for forward in self._forwards.values():
            self._close_listener(forward)

    def counters(self) -> list[Counters]:
        """What changed since the last call. Forwards with neither listener nor connections are dropped."""
        changed = [c for c in (f.counters() for f in self._forwards.values()) if c]
        self._forwards = {n: f for n, f in self._forwards.items() if f.listener or f.open}
        return changed

    @property
    def busy(self) -> bool:
        """Whether any connection is open."""
        return any(f.open for f in self._forwards.values())

    def _watch(self, forward: _Forward) -> None:
        if forward.listener and not self._paused:
            self._loop.watch(forward.listener.fileno(), EPOLLIN, lambda mask: self._accept(forward, mask))

    def _close_listener(self, forward: _Forward) -> None:
        if forward.listener:
            self._loop.close(forward.listener)
            forward.listener = None

    def _accept(self, forward: _Forward, mask: int) -> None:
        if forward.listener is None:
            return
        if mask & EPOLLHUP:  # the host shut it down
            self._close_listener(forward)
            return
        try:
            client, _ = forward.listener.accept()
            client.setblocking(False)
        except OSError as error:
            if error.errno in _NO_ROOM:
                self._pause()
            return
        forward.connections += 1
        self._on_activity()
        _Dial(self._loop, forward, client, self._pause)

    def _pause(self) -> None:
        """Out of descriptors or memory: clients wait in the backlog for a moment."""
        if self._paused:
            return
        self._paused = True
        for forward in self._forwards.values():
            if forward.listener:
                self._loop.forget(forward.listener.fileno())
        self._loop.later(PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        self._paused = False
        for forward in self._forwards.values():
            self._watch(forward)
