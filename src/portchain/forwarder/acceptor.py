"""Accepts on listening sockets, dials each one's target and relays."""

from __future__ import annotations

import socket
from collections.abc import Callable
from select import EPOLLHUP, EPOLLIN

from ..channel.handoff import Counters, Listen
from ..mapping.forward import Endpoint
from .address import socket_address
from .dial import NO_ROOM, PAUSE_SECONDS, Dial
from .loop import Loop
from .proxy_protocol import header
from .relay import Relay
from .tally import Tally


class _Forward:
    """A listener, its target, the connections that came through it."""

    def __init__(self, loop: Loop, message: Listen, listener: socket.socket, no_room: Callable[[], None]) -> None:
        self._loop = loop
        self.no_room = no_room
        self.target = Endpoint.parse(message.target)
        self._address = socket_address(self.target)
        self.proxy_protocol = message.proxy_protocol
        self.listener: socket.socket | None = listener
        self.tally = Tally(message.id)
        self.open: set[Relay | Dial] = set()

    def dial(self, client: socket.socket) -> None:
        """Connect ``client`` to the target."""
        self.tally.connections += 1
        dial = Dial(self._loop, client, [self._address], self)
        self.open.add(dial)
        dial.start()

    def connected(self, dial: Dial, target: socket.socket) -> None:
        """Relay between the client and its target."""
        try:
            if self.proxy_protocol:
                target.send(self._introduction(dial.client))  # fits whole: nothing else waits in the buffer
        except OSError as error:
            dial.abort()
            self.failed(dial, error.strerror or str(error))
            return
        self.open.discard(dial)
        self.open.add(Relay(self._loop, dial.client, target, self.tally.meters, self.open.discard))

    def _introduction(self, client: socket.socket) -> bytes:
        if client.family == socket.AF_UNIX:
            return header(self.proxy_protocol, None, None)
        return header(self.proxy_protocol, client.getpeername()[:2], client.getsockname()[:2])

    def failed(self, dial: Dial, reason: str) -> None:
        """Keep the reason for the next report."""
        self.open.discard(dial)
        self.tally.error = f"guest: connecting to {self.target}: {reason}"

    def abort(self) -> None:
        """End all its connections with a reset."""
        while self.open:
            self.open.pop().abort()


class Acceptor:
    """The forwards being served, by name; ``on_activity`` is called when there will be something to report."""

    def __init__(self, loop: Loop, on_activity: Callable[[], None]) -> None:
        self._loop = loop
        self._on_activity = on_activity
        self._forwards: dict[str, _Forward] = {}
        self._paused = False

    def listen(self, message: Listen, descriptor: int) -> None:
        """Serve a forward on a listening descriptor, ours from now on; raise ValueError for a target not understood.

        A forward of that name to the same target keeps its connections and changes its listener; another is closed.
        """
        listener = socket.socket(fileno=descriptor)
        try:
            fresh = _Forward(self._loop, message, listener, self._pause)
        except ValueError:
            listener.close()
            raise
        forward = self._forwards.get(message.id)
        if forward and (forward.target, forward.proxy_protocol) == (fresh.target, fresh.proxy_protocol):
            self._close_listener(forward)
            forward.listener = listener
        else:
            self.close(message.id)
            forward = self._forwards[message.id] = fresh
        listener.setblocking(False)
        self._watch(forward)

    def close(self, name: str) -> None:
        """End a forward and its connections."""
        forward = self._forwards.pop(name, None)
        if forward:
            self._close_listener(forward)
            forward.abort()

    def close_listeners(self) -> None:
        """Let go of the listeners; connections live on."""
        for forward in self._forwards.values():
            self._close_listener(forward)

    def counters(self) -> list[Counters]:
        """What changed since the last call. Forwards with neither listener nor connections are dropped."""
        changed = [c for c in (f.tally.report(len(f.open)) for f in self._forwards.values()) if c]
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
            if error.errno in NO_ROOM:
                self._pause()
            return
        self._on_activity()
        forward.dial(client)

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
