"""Accepts on listening sockets, dials each one's target and relays."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from select import EPOLLHUP, EPOLLIN

from ..channel.handoff import Counters
from ..mapping.forward import Endpoint
from .address import socket_address
from .dial import NO_ROOM, PAUSE_SECONDS, Dial
from .loop import Loop
from .relay import Meter, Relay


@dataclass
class _Totals:
    connections: int = 0
    received: int = 0
    sent: int = 0


class _Forward:
    """A listener, its target, the connections that came through it."""

    def __init__(
        self, loop: Loop, name: str, target: Endpoint, listener: socket.socket, no_room: Callable[[], None]
    ) -> None:
        self._loop = loop
        self.no_room = no_room
        self._address = socket_address(target)
        self.name = name
        self.target = target
        self.listener: socket.socket | None = listener
        self.connections = 0
        self.meters = Meter(), Meter()
        self.open: set[Relay | Dial] = set()
        self.error = ""
        self._reported = _Totals()
        self._reported_active = 0

    def dial(self, client: socket.socket) -> None:
        """Connect ``client`` to the target."""
        self.connections += 1
        dial = Dial(self._loop, client, [self._address], self)
        self.open.add(dial)
        dial.start()

    def connected(self, dial: Dial, target: socket.socket) -> None:
        """Relay between the client and its target."""
        self.open.discard(dial)
        self.open.add(Relay(self._loop, dial.client, target, self.meters, self.open.discard))

    def failed(self, dial: Dial, reason: str) -> None:
        """Keep the reason for the next report."""
        self.open.discard(dial)
        self.error = f"guest: connecting to {self.target}: {reason}"

    def abort(self) -> None:
        """End all its connections with a reset."""
        while self.open:
            self.open.pop().abort()

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
                forward = self._forwards[name] = _Forward(self._loop, name, endpoint, listener, self._pause)
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
            forward.abort()

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
