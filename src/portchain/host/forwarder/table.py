"""The forwards of one guest: their listeners on the host, and the state that the relay reports."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ...net.listening import BindError, bind_message, close_listener, open_listener
from ...ports.conflicts import Listeners, clash
from ...ports.forward import Endpoint, Forward
from ...protocol.handoff import Close, Closed, Counters, Failed, Listen, Listening
from ...protocol.packets import Message
from .forward_changes import plan_changes

RELEASE_SECONDS = 1.0
RELEASE_PAUSE_SECONDS = 0.001


@dataclass(eq=False)
class ForwardEntry:
    """One forward. Without ``listener`` it could not be bound; ``bind_errno`` is then the kernel's error number.

    ``origin`` says who asked for it: ``system``, ``declared``, ``manual``, ``container:ID`` or ``host-network:ID``;
    ``owner`` is the origin's name for people, such as the container's name.
    """

    forward: Forward
    origin: str
    owner: str
    listener: socket.socket | None = None
    handed_over: bool = False
    guest_state: str = ""
    error: str = ""
    bind_errno: int = 0
    connections: int = 0
    active: int = 0
    received: int = 0
    sent: int = 0
    dropped: int = 0

    @property
    def name(self) -> str:
        """The forward's name between forwarder and relay."""
        return str(self.forward.listen)

    @property
    def kind(self) -> str:
        """The origin without the container's id."""
        return self.origin.partition(":")[0]

    @property
    def claim(self) -> str:
        """Who holds the listen endpoint, for the message to somebody else who wants it."""
        if self.kind == "container":
            return f"container {self.owner} publishes {self.forward.listen.hostport}"
        return f"{self.forward.listen.hostport} is forwarded to {self.forward.target.hostport} ({self.owner})"

    @property
    def state(self) -> str:
        """``listening``, ``waiting`` (bound, but the guest is not connected) or ``failed``."""
        return (self.guest_state or "waiting") if self.listener else "failed"

    def as_dict(self) -> dict[str, str | int]:
        """Return the entry as listed by the control interface; bytes are ``received`` from and ``sent`` to clients."""
        return {
            **self.forward.as_dict(),
            "origin": self.kind,
            "owner": self.owner,
            "state": self.state,
            "connections": self.connections,
            "active": self.active,
            "received": self.received,
            "sent": self.sent,
            "dropped": self.dropped,
            "error": self.error,
        }


class ForwardTable:
    """The forwards of one guest by origin, and their listeners.

    ``on_change`` is called with the name of each forward whose change the relay must learn. Two origins may want the
    same endpoint: one has it, and the other's entry is ``failed`` until the endpoint is free.
    """

    def __init__(self, owner: int, on_change: Callable[[str], None]) -> None:
        self._owner = owner
        self._on_change = on_change
        self._origins: dict[str, dict[str, ForwardEntry]] = {}
        self._bound: dict[str, ForwardEntry] = {}
        self._listeners = Listeners()
        self._unbound: dict[ForwardEntry, None] = {}
        self._reserved: dict[Endpoint, socket.socket] = {}
        self._closing: dict[str, Endpoint] = {}

    def __iter__(self) -> Iterator[ForwardEntry]:
        for entries in self._origins.values():
            yield from entries.values()

    def bound(self, listen: Endpoint) -> ForwardEntry | None:
        """Return the entry that listens on exactly this endpoint."""
        return self._bound.get(str(listen))

    def bound_names(self) -> list[str]:
        """Return the names of all forwards that are listened on."""
        return list(self._bound)

    def of(self, origin: str) -> list[Forward]:
        """Return the forwards of one origin."""
        return [entry.forward for entry in self._origins.get(origin, {}).values()]

    def add(self, forwards: Iterable[Forward], origin: str, owner: str = "") -> None:
        """Add forwards to those of ``origin``; `retry` binds those that cannot be bound now."""
        entries = self._origins.setdefault(origin, {})
        for forward in forwards:
            entry = ForwardEntry(forward, origin, owner or origin)
            if entry.name in entries:
                self._remove(entries[entry.name])
            entries[entry.name] = entry
            self._unbound[entry] = None
        self.retry()

    def retry(self) -> None:
        """Bind the entries that could not be bound before."""
        for entry in list(self._unbound):
            try:
                self._bind(entry)
            except BindError as error:
                if not error.code or error.code != entry.bind_errno:
                    entry.error, entry.bind_errno = str(error), error.code
            else:
                entry.error, entry.bind_errno = "", 0
                self._on_change(entry.name)

    @contextmanager
    def reserving(self) -> Iterator[Callable[[Endpoint], Endpoint]]:
        """Yield a function that binds an endpoint for a forward that is added before the block ends, or not at all.

        It returns the endpoint with the port that was bound, which the kernel chooses for port 0, and raises BindError.
        """
        try:
            yield self._reserve
        finally:
            for sock in self._reserved.values():
                close_listener(sock)
            self._reserved.clear()

    def _reserve(self, listen: Endpoint) -> Endpoint:
        sock = self._open(listen)
        bound = replace(listen, port=sock.getsockname()[1])
        self._reserved[bound] = sock
        return bound

    def replace(self, wanted: list[Forward], origin: str, save: Callable[[], None], owner: str = "") -> None:
        """Make ``wanted`` the only forwards of ``origin``, all or nothing; call ``save`` once all are bound.

        Raise BindError, or what ``save`` raises; then everything is as before.
        """
        entries = self._origins.get(origin, {})
        changes = plan_changes((entry.forward for entry in entries.values() if entry.listener), wanted)
        opened = {str(forward.listen): ForwardEntry(forward, origin, owner or origin) for forward in changes.open}
        self._bind_or_restore(opened, changes.make_way, entries, save)
        retargeted = {
            str(forward.listen): self._retarget(entries[str(forward.listen)], forward, owner or origin)
            for forward in changes.retarget
        }
        changed = opened | retargeted
        names = [str(forward.listen) for forward in wanted]
        remaining = {name: changed.get(name) or entries[name] for name in names}
        for name, entry in entries.items():
            if remaining.get(name) is not entry:
                self._remove(entry)
        for name in changed:
            self._on_change(name)
        self._set_entries(origin, remaining)

    def _bind_or_restore(
        self,
        opened: dict[str, ForwardEntry],
        make_way: Iterable[Forward],
        entries: dict[str, ForwardEntry],
        save: Callable[[], None],
    ) -> None:
        """Unbind ``make_way``, bind ``opened`` and call ``save``; bind ``entries`` again if any of it fails."""
        try:
            for forward in make_way:
                self._unbind(entries[str(forward.listen)])
            for entry in opened.values():
                self._bind(entry)
            save()
        except BaseException:
            for entry in opened.values():
                self._unbind(entry)
            self._unbound |= dict.fromkeys(entry for entry in entries.values() if not entry.listener)
            self.retry()
            raise

    def _retarget(self, previous: ForwardEntry, forward: Forward, owner: str) -> ForwardEntry:
        """Return an entry for ``forward`` that has taken over the listener of ``previous``."""
        listener, previous.listener = previous.listener, None
        entry = ForwardEntry(forward, previous.origin, owner, listener, previous.handed_over)
        self._bound[previous.name] = entry
        return entry

    def keep(self, wanted: Iterable[Forward], origin: str, owner: str = "") -> None:
        """Make ``wanted`` the only forwards of ``origin``; `retry` binds those that cannot be bound now."""
        entries = self._origins.get(origin, {})
        missing = {str(forward.listen): forward for forward in wanted}
        for name, entry in list(entries.items()):
            if missing.get(name) == entry.forward:
                del missing[name]
                entry.owner = owner or origin
            else:
                self._remove(entries.pop(name))
        self.add(missing.values(), origin, owner)
        self._set_entries(origin, self._origins[origin])

    def _set_entries(self, origin: str, entries: dict[str, ForwardEntry]) -> None:
        self._origins[origin] = entries
        if not entries:
            del self._origins[origin]

    def drop(self, origin: str) -> None:
        """Remove all forwards of ``origin``."""
        entries = self._origins.pop(origin, {})
        for entry in entries.values():
            self._remove(entry)
        if entries:
            self.retry()

    async def released(self) -> None:
        """Wait until the relay has closed its copies of removed udp sockets, RELEASE_SECONDS at most."""
        end = time.monotonic() + RELEASE_SECONDS
        while self._closing and time.monotonic() < end:
            await asyncio.sleep(RELEASE_PAUSE_SECONDS)

    def message_for(self, name: str) -> tuple[Message, list[int]]:
        """Return the message that describes a forward's present state to the relay, and the descriptor to send."""
        entry = self._bound.get(name)
        if entry and entry.listener:
            message = Listen(name, str(entry.forward.target), entry.forward.proxy_protocol)
            entry.handed_over = True
            return message, [entry.listener.fileno()]
        return Close(name), []

    def receive(self, message: Message) -> None:
        """Record the state and counters that the relay reports; ignore reports of unknown forwards."""
        if isinstance(message, Closed):
            self._closing.pop(message.id, None)
        if not isinstance(message, Listening | Failed | Counters):
            return
        entry = self._bound.get(message.id)
        if entry is None:
            return
        if isinstance(message, Counters):
            entry.connections += message.connections
            entry.active = message.active
            entry.received += message.received
            entry.sent += message.sent
            entry.dropped += message.dropped
            entry.error = message.error or entry.error
        else:
            entry.guest_state = "failed" if isinstance(message, Failed) else "listening"
            entry.error = message.error if isinstance(message, Failed) else ""

    def guest_lost(self) -> None:
        """Note that the guest is gone. Listeners stay, and their clients wait."""
        for entry in self._bound.values():
            entry.guest_state = ""

    def relay_lost(self) -> None:
        """Note that the relay is gone, and its sockets and connections with it."""
        self._closing.clear()
        for entry in self._bound.values():
            entry.handed_over = False
            entry.guest_state = ""
            entry.active = 0

    def close(self) -> None:
        """Close every listener."""
        for entry in list(self._bound.values()):
            self._unbind(entry)

    def _bind(self, entry: ForwardEntry) -> None:
        """Open the entry's listener; raise BindError."""
        listen = entry.forward.listen
        entry.listener = self._reserved.pop(listen, None) or self._open(listen)
        self._listeners.add(listen)
        self._bound[entry.name] = entry
        self._unbound.pop(entry, None)
        self._closing.pop(entry.name, None)

    def _open(self, listen: Endpoint) -> socket.socket:
        if holder := self._listeners.first_clashing(listen):
            in_use = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            raise BindError(bind_message(listen, in_use, self._bound[str(holder)].claim))
        released = any(clash(listen, endpoint) for endpoint in self._closing.values())
        return open_listener(listen, self._owner, released=released)

    def _unbind(self, entry: ForwardEntry) -> None:
        if entry.listener:
            if entry.handed_over and entry.forward.listen.protocol == "udp":
                self._closing[entry.name] = entry.forward.listen
            close_listener(entry.listener)
            entry.listener, entry.handed_over = None, False
            entry.guest_state = ""
            self._listeners.remove(entry.forward.listen)
            del self._bound[entry.name]

    def _remove(self, entry: ForwardEntry) -> None:
        was_bound = entry.listener is not None
        self._unbind(entry)
        self._unbound.pop(entry, None)
        if was_bound:
            self._on_change(entry.name)
