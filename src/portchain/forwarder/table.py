"""The forwards of one guest: their listeners on the host, and what the guest says of them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..channel.handoff import Close, Counters, Failed, Listen, Listening, Message
from ..mapping.conflict import Listeners
from ..mapping.forward import Endpoint, Forward
from .listener import BindError, StreamListener, bind_message, open_listener
from .plan import plan
from .udp_listener import UdpListener


@dataclass(eq=False)
class Entry:
    """One forward. Without ``listener`` it could not be bound, ``refusal`` being the kernel's reason.

    ``origin`` says who asked for it: ``system``, ``declared``, ``manual`` or ``container:ID``; ``owner`` is what people
    call that, the container's name.
    """

    forward: Forward
    origin: str
    owner: str
    listener: StreamListener | UdpListener | None = None
    guest_says: str = ""
    error: str = ""
    refusal: int = 0
    connections: int = 0
    active: int = 0
    received: int = 0
    sent: int = 0
    guest_dropped: int = 0

    @property
    def name(self) -> str:
        """What host and guest call it."""
        return str(self.forward.listen)

    @property
    def kind(self) -> str:
        """The origin without the container's id."""
        return self.origin.partition(":")[0]

    @property
    def claim(self) -> str:
        """Who has the listen endpoint, for those who cannot have it."""
        if self.kind == "container":
            return f"container {self.owner} publishes {self.forward.listen.place}"
        return f"{self.forward.listen.place} is forwarded to {self.forward.target.place} ({self.owner})"

    @property
    def state(self) -> str:
        """``listening``, ``waiting`` (bound; the guest is not there yet) or ``failed``."""
        return (self.guest_says or "waiting") if self.listener else "failed"

    def as_dict(self) -> dict[str, str | int]:
        """As the control interface shows it; ``received`` and ``sent`` are bytes from and to clients."""
        return {
            **self.forward.as_dict(),
            "origin": self.kind,
            "owner": self.owner,
            "state": self.state,
            "connections": self.connections,
            "active": self.active,
            "received": self.received,
            "sent": self.sent,
            "dropped": self.guest_dropped + (self.listener.dropped if self.listener else 0),
            "error": self.error,
        }


class Table:
    """Owns the listeners. ``on_change`` is called with the name of each forward the guest must hear of.

    Two origins may want the same endpoint: one has it, the other's entry is ``failed`` and gets it once it is free.
    """

    def __init__(self, owner: int, on_change: Callable[[str], None]) -> None:
        self._owner = owner
        self._on_change = on_change
        self._origins: dict[str, dict[str, Entry]] = {}
        self._bound: dict[str, Entry] = {}
        self._held = Listeners()
        self._unbound: dict[Entry, None] = {}

    def __iter__(self) -> Iterator[Entry]:
        for entries in self._origins.values():
            yield from entries.values()

    def bound(self, listen: Endpoint) -> Entry | None:
        """The entry that listens on exactly this endpoint."""
        return self._bound.get(str(listen))

    def bound_names(self) -> list[str]:
        """All that is listened on."""
        return list(self._bound)

    def of(self, origin: str) -> list[Forward]:
        """The forwards of one origin."""
        return [entry.forward for entry in self._origins.get(origin, {}).values()]

    def add(self, forwards: Iterable[Forward], origin: str, owner: str = "") -> None:
        """Take forwards in; one that cannot be bound is tried again by `retry`."""
        mine = self._origins.setdefault(origin, {})
        for forward in forwards:
            entry = Entry(forward, origin, owner or origin)
            if entry.name in mine:
                self._remove(mine[entry.name])
            mine[entry.name] = entry
            self._unbound[entry] = None
        self.retry()

    def retry(self) -> None:
        """Bind what could not be bound before."""
        for entry in list(self._unbound):
            try:
                self._bind(entry)
            except BindError as error:
                if not error.code or error.code != entry.refusal:
                    entry.error, entry.refusal = str(error), error.code
            else:
                entry.error, entry.refusal = "", 0
                self._on_change(entry.name)

    def replace(self, wanted: list[Forward], origin: str, save: Callable[[], None], owner: str = "") -> None:
        """Make ``wanted`` the forwards of ``origin``, all or nothing; ``save`` is called once all are bound.

        Raise BindError, or what ``save`` raises; then everything is as before.
        """
        mine = self._origins.get(origin, {})
        steps = plan((e.forward for e in mine.values() if e.listener), wanted)
        fresh = {str(f.listen): Entry(f, origin, owner or origin) for f in steps.open}
        try:
            for forward in steps.make_way:
                self._unbind(mine[str(forward.listen)])
            for entry in fresh.values():
                self._bind(entry)
            save()
        except BaseException:
            for entry in fresh.values():
                self._unbind(entry)
            self._unbound |= dict.fromkeys(e for e in mine.values() if not e.listener)
            self.retry()
            raise
        for forward in steps.retarget:
            listener, mine[str(forward.listen)].listener = mine[str(forward.listen)].listener, None
            entry = Entry(forward, origin, owner or origin, listener)
            fresh[entry.name] = self._bound[entry.name] = entry
        kept = {name: fresh.get(name) or mine[name] for name in (str(f.listen) for f in wanted)}
        for name, entry in mine.items():
            if kept.get(name) is not entry:
                self._remove(entry)
        for name in fresh:
            self._on_change(name)
        self._origins[origin] = kept
        if not kept:
            del self._origins[origin]

    def keep(self, wanted: Iterable[Forward], origin: str, owner: str = "") -> None:
        """Make ``wanted`` the forwards of ``origin``; one that cannot be bound is tried again by `retry`."""
        mine = self._origins.get(origin, {})
        missing = {str(forward.listen): forward for forward in wanted}
        for name, entry in list(mine.items()):
            if missing.get(name) == entry.forward:
                del missing[name]
            else:
                self._remove(mine.pop(name))
        self.add(missing.values(), origin, owner)
        if not self._origins[origin]:
            del self._origins[origin]

    def message_for(self, name: str) -> tuple[Message, int | None]:
        """What the guest has to be told of a forward now, and the descriptor that goes with it."""
        entry = self._bound.get(name)
        if entry and entry.listener:
            return Listen(name, str(entry.forward.target), entry.forward.proxy_protocol), entry.listener.descriptor()
        return Close(name), None

    def told(self, name: str) -> None:
        """The guest was sent what `message_for` said."""
        entry = self._bound.get(name)
        if entry and entry.listener:
            entry.listener.handed_over()

    def receive(self, message: Message) -> None:
        """Take in what the guest says; what it says of unknown forwards is ignored."""
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
            entry.guest_dropped += message.dropped
            entry.error = message.error or entry.error
        else:
            entry.guest_says = "failed" if isinstance(message, Failed) else "listening"
            entry.error = message.error if isinstance(message, Failed) else ""

    def guest_lost(self) -> None:
        """The guest is away: listeners stay, and their clients wait in the backlog."""
        for entry in self._bound.values():
            entry.guest_says = ""
            entry.active = 0
            if entry.listener:
                entry.listener.guest_lost()

    def close(self) -> None:
        """Close every listener."""
        for entry in list(self._bound.values()):
            self._unbind(entry)

    def _bind(self, entry: Entry) -> None:
        listen = entry.forward.listen
        for held in self._held.clashing(listen):
            in_use = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            raise BindError(bind_message(listen, in_use, self._bound[str(held)].claim))
        sock = open_listener(listen, self._owner)
        entry.listener = UdpListener(sock) if listen.protocol == "udp" else StreamListener(sock)
        self._held.add(listen)
        self._bound[entry.name] = entry
        self._unbound.pop(entry, None)

    def _unbind(self, entry: Entry) -> None:
        if entry.listener:
            entry.listener.close()
            entry.listener = None
            entry.guest_says = ""
            self._held.remove(entry.forward.listen)
            del self._bound[entry.name]

    def _remove(self, entry: Entry) -> None:
        was_bound = entry.listener is not None
        self._unbind(entry)
        self._unbound.pop(entry, None)
        if was_bound:
            self._on_change(entry.name)
