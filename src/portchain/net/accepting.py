"""Accept clients on listening sockets, dial their targets and relay."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from select import EPOLLHUP, EPOLLIN
from typing import Protocol

from ..ports.forward import Endpoint
from ..protocol.handoff import Counters, Listen
from .dialling import OUT_OF_RESOURCES, PAUSE_SECONDS, Dial, Dialling, DialOwner
from .loop import Loop
from .proxy_protocol import encode_header
from .relay import Relay, RelayState, reset
from .socket_address import socket_address
from .tally import Tally


class Dialler(Protocol):
    """Where targets are dialled."""

    def dial(self, client: socket.socket, target: Endpoint, owner: DialOwner) -> Dialling:
        """Return a dial of ``target`` for ``client``, which has not begun."""

    def ready(self, target: Endpoint) -> bool:
        """Return whether ``target`` can be dialled now; clients wait until then."""


class OwnNetwork:
    """Dials in the caller's own network."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def dial(self, client: socket.socket, target: Endpoint, owner: DialOwner) -> Dialling:
        """Return a dial of ``target`` for ``client``, which has not begun."""
        return Dial(self._loop, client, [socket_address(target)], owner)

    def ready(self, target: Endpoint) -> bool:
        """Return True: there is always a network."""
        return True


class _StreamForward:
    """A listener, its target, and the connections that came through it."""

    def __init__(
        self,
        loop: Loop,
        message: Listen,
        listener: socket.socket,
        dialler: Dialler,
        pause: Callable[[_StreamForward], None],
    ) -> None:
        self._loop = loop
        self._dialler = dialler
        self._pause = pause
        self.target = Endpoint.parse(message.target)
        self.proxy_protocol = message.proxy_protocol
        self.listener: socket.socket | None = listener
        self.tally = Tally(message.id)
        self.open: set[Relay | Dialling] = set()

    @property
    def ready(self) -> bool:
        """Whether the target can be dialled now."""
        return self._dialler.ready(self.target)

    def dial(self, client: socket.socket) -> None:
        """Dial the target for ``client``."""
        self.tally.connections += 1
        dial = self._dialler.dial(client, self.target, self)
        self.open.add(dial)
        dial.start()

    def connected(self, dial: Dialling, target: socket.socket) -> None:
        """Relay between the client and its target, after a PROXY header if there is to be one."""
        try:
            if self.proxy_protocol:  # never partial: the buffer is empty
                target.send(self._proxy_header(dial.client), socket.MSG_DONTWAIT)
        except OSError as error:
            dial.abort()
            self.failed(dial, error.strerror or str(error))
            return
        self.open.discard(dial)
        self.open.add(Relay(self._loop, dial.client, target, self.tally.meters, self.open.discard))

    def suspend(self) -> Iterator[RelayState]:
        """Stop relaying; yield the connections for another process, and reset what cannot be handed on."""
        for connection in self.open:
            if isinstance(connection, Relay):
                with contextlib.suppress(OSError):
                    yield connection.suspend()
            else:
                connection.abort()

    def resume(self, state: RelayState) -> None:
        """Go on with a connection that another process has suspended; raise OSError."""
        client, target = (socket.socket(fileno=descriptor) for descriptor in state.descriptors[:2])
        relay = Relay(self._loop, client, target, self.tally.meters, self.open.discard)
        self.open.add(relay)
        relay.resume(state)

    def _proxy_header(self, client: socket.socket) -> bytes:
        if client.family == socket.AF_UNIX:
            return encode_header(self.proxy_protocol, None, None)
        return encode_header(self.proxy_protocol, client.getpeername()[:2], client.getsockname()[:2])

    def no_room(self) -> None:
        """Stop accepting for a moment."""
        self._pause(self)

    def failed(self, dial: Dialling, reason: str) -> None:
        """Keep the reason for the next report; the client has been reset."""
        self.open.discard(dial)
        self.tally.error = f"guest: connecting to {self.target}: {reason}"

    def abort(self) -> None:
        """End all connections with a reset."""
        while self.open:
            self.open.pop().abort()


class Acceptor:
    """The forwards being served, by id; ``on_activity`` is called when there will be something to report."""

    def __init__(self, loop: Loop, on_activity: Callable[[], None], dialler: Dialler | None = None) -> None:
        self._loop = loop
        self._on_activity = on_activity
        self._dialler = dialler or OwnNetwork(loop)
        self._forwards: dict[str, _StreamForward] = {}
        self._paused: set[_StreamForward] = set()

    def listen(self, message: Listen, descriptor: int) -> None:
        """Serve a forward on a listening descriptor, and own that; raise ValueError if the target cannot be parsed.

        A forward of the same id and target only changes its listener; one to another target is closed first.
        """
        listener = socket.socket(fileno=descriptor)
        try:
            new = _StreamForward(self._loop, message, listener, self._dialler, self._pause)
        except ValueError:
            listener.close()
            raise
        forward = self._forwards.get(message.id)
        if forward and (forward.target, forward.proxy_protocol) == (new.target, new.proxy_protocol):
            self._close_listener(forward)
            forward.listener = listener
        else:
            self.close(message.id)
            forward = self._forwards[message.id] = new
        listener.setblocking(False)
        self._watch(forward)

    def close(self, name: str) -> None:
        """End a forward and its connections, if it is served."""
        forward = self._forwards.pop(name, None)
        if forward:
            self._close_listener(forward)
            forward.abort()

    def close_listeners(self) -> None:
        """Close all listeners; connections stay open."""
        for forward in self._forwards.values():
            self._close_listener(forward)

    def abort_connections(self) -> None:
        """End all connections with a reset; listeners stay."""
        for forward in self._forwards.values():
            forward.abort()

    def suspend(self) -> Iterator[tuple[str, RelayState]]:
        """Stop relaying; yield the connections for another process, each with the id of its forward."""
        for name, forward in self._forwards.items():
            for state in forward.suspend():
                yield name, state

    def resume(self, name: str, state: RelayState) -> None:
        """Go on with a connection that another process has suspended, or reset it if its forward is gone.

        Raise OSError.
        """
        if forward := self._forwards.get(name):
            forward.resume(state)
            return
        for descriptor in state.descriptors[:2]:
            with socket.socket(fileno=descriptor) as sock:
                reset(sock)
        for descriptor in state.descriptors[2:]:
            os.close(descriptor)

    def counters(self) -> list[Counters]:
        """Return the counters that changed since the last call; drop forwards without listener and connections."""
        reports = (forward.tally.report(len(forward.open)) for forward in self._forwards.values())
        changed = [counters for counters in reports if counters]
        self._forwards = {name: forward for name, forward in self._forwards.items() if forward.listener or forward.open}
        return changed

    @property
    def busy(self) -> bool:
        """Whether any connection is open."""
        return any(forward.open for forward in self._forwards.values())

    def _watch(self, forward: _StreamForward) -> None:
        if forward.listener and forward not in self._paused:
            self._loop.watch(forward.listener.fileno(), EPOLLIN, lambda mask: self._accept(forward, mask))

    def _close_listener(self, forward: _StreamForward) -> None:
        if forward.listener:
            self._loop.close(forward.listener)
            forward.listener = None

    def _accept(self, forward: _StreamForward, mask: int) -> None:
        if forward.listener is None:
            return
        if mask & EPOLLHUP:  # the host shut it down
            self._close_listener(forward)
            return
        if not forward.ready:
            self._pause(forward)
            return
        try:
            client, _ = forward.listener.accept()
            client.setblocking(False)
        except OSError as error:
            if error.errno in OUT_OF_RESOURCES:
                self._pause(forward)
            return
        self._on_activity()
        forward.dial(client)

    def _pause(self, forward: _StreamForward) -> None:
        """Stop accepting for a moment, for want of sockets, descriptors or memory; clients wait in the backlog."""
        if forward.listener:
            self._loop.forget(forward.listener.fileno())
        if not self._paused:
            self._loop.later(PAUSE_SECONDS, self.unpause)
        self._paused.add(forward)

    def unpause(self) -> None:
        """Accept again where that was paused."""
        paused, self._paused = self._paused, set()
        for forward in paused:
            self._watch(forward)
