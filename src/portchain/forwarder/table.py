"""The forwards of one guest: their listeners on the host, and what the guest says of them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..channel.handoff import Close, Counters, Failed, Listen, Listening, Message
from ..mapping.forward import Forward
from .listener import BindError, close_listener, open_listener
from .plan import plan


@dataclass
class Entry:
    """One forward; ``origin`` says who asked for it. Without ``listener`` it could not be bound."""

    forward: Forward
    origin: str
    listener: socket.socket | None = None
    guest_says: str = ""
    error: str = ""
    connections: int = 0
    active: int = 0
    received: int = 0
    sent: int = 0

    @property
    def state(self) -> str:
        """``listening``, ``waiting`` (bound; the guest is not there yet) or ``failed``."""
        return (self.guest_says or "waiting") if self.listener else "failed"

    def as_dict(self) -> dict[str, str | int]:
        """As the control interface shows it; ``received`` and ``sent`` are bytes from and to the client."""
        return {
            **self.forward.as_dict(),
            "origin": self.origin,
            "state": self.state,
            "connections": self.connections,
            "active": self.active,
            "received": self.received,
            "sent": self.sent,
            "error": self.error,
        }


class Table:
    """Owns the listeners. ``on_change`` is called with the id of each forward the guest must hear of."""

    def __init__(self, owner: int, on_change: Callable[[str], None]) -> None:
        self.entries: dict[str, Entry] = {}
        self._owner = owner
        self._on_change = on_change

    def add(self, forwards: Iterable[Forward], origin: str) -> None:
        """Take forwards in; one that cannot be bound is tried again by `retry`."""
        for forward in forwards:
            self.entries[str(forward.listen)] = Entry(forward, origin)
        self.retry()

    def retry(self) -> None:
        """Bind what could not be bound before."""
        for name, entry in self.entries.items():
            if entry.listener is None:
                try:
                    entry.listener = open_listener(entry.forward.listen, self._owner)
                except BindError as error:
                    entry.error = str(error)
                else:
                    entry.error = ""
                    self._on_change(name)

    def of(self, origin: str) -> list[Forward]:
        """The forwards of one origin."""
        return [e.forward for e in self.entries.values() if e.origin == origin]

    def replace(self, wanted: list[Forward], origin: str, save: Callable[[], None]) -> None:
        """Make ``wanted`` the forwards of ``origin``, all or nothing; ``save`` is called once all are bound.

        Raise BindError, or what ``save`` raises; then everything is as before.
        """
        steps = plan((e.forward for e in self.entries.values() if e.origin == origin and e.listener), wanted)
        opened: dict[str, socket.socket] = {}
        try:
            for forward in steps.make_way:
                self._release(self.entries[str(forward.listen)])
            for forward in steps.open:
                opened[str(forward.listen)] = open_listener(forward.listen, self._owner)
            save()
        except BaseException:
            for opened_listener in opened.values():
                close_listener(opened_listener)
            self.retry()
            raise
        targets = {str(f.listen): f for f in wanted}
        for name in [n for n, e in self.entries.items() if e.origin == origin and n not in targets]:
            self._release(self.entries.pop(name))
            self._on_change(name)
        for name, forward in targets.items():
            entry = self.entries.get(name)
            if name in opened or entry is None or entry.forward != forward:
                listener = opened.get(name) or (entry.listener if entry else None)
                self.entries[name] = Entry(forward, origin, listener)
                self._on_change(name)

    def message_for(self, name: str) -> tuple[Message, int | None]:
        """What the guest has to be told of a forward now, and the descriptor that goes with it."""
        entry = self.entries.get(name)
        if entry and entry.listener:
            return Listen(name, str(entry.forward.target)), entry.listener.fileno()
        return Close(name), None

    def receive(self, message: Message) -> None:
        """Take in what the guest says; what it says of unknown forwards is ignored."""
        if not isinstance(message, Listening | Failed | Counters):
            return
        entry = self.entries.get(message.id)
        if entry is None:
            return
        if isinstance(message, Counters):
            entry.connections += message.connections
            entry.active = message.active
            entry.received += message.received
            entry.sent += message.sent
            entry.error = message.error or entry.error
        else:
            entry.guest_says = "failed" if isinstance(message, Failed) else "listening"
            entry.error = message.error if isinstance(message, Failed) else ""

    def guest_lost(self) -> None:
        """The guest is away: listeners stay, and their clients wait in the backlog."""
        for entry in self.entries.values():
            entry.guest_says = ""
            entry.active = 0

    def close(self) -> None:
        """Close every listener."""
        for entry in self.entries.values():
            self._release(entry)

    def _release(self, entry: Entry) -> None:
        if entry.listener:
            close_listener(entry.listener)
            entry.listener = None
            entry.guest_says = ""
