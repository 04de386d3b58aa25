"""How far a packet has come, and what a hop finds."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...mapping.forward import Endpoint
from ..model import Container, Guest, HostForward, Link, Listener, Machine, Network, Space, names
from ..rules.hook import Passage
from ..rules.model import Packet
from ..trace import Hop, Verdict

_LONGEST_NOTE = 400  # letters
# Words that no shell takes for anything else.
_PLAIN = re.compile(r"[\w@%+=:,./-]+|!", re.ASCII)
# Where a forwarded connection comes from in the guest, by family.
LOOPBACK = {4: "127.0.0.1", 6: "::1"}


@dataclass
class Way:
    """A packet on its way from ``forward``; each hop reads where it is and says where it goes next.

    ``packet`` is the packet as it is now, ``passage`` its way through the guest's rules. ``local`` is set where the
    guest itself has the server, ``arrived`` where no hop is left.
    """

    machine: Machine
    forward: HostForward
    guest: Guest | None = None
    packet: Packet | None = None
    passage: Passage | None = None
    bridge: Link | None = None
    network: Network | None = None
    container: Container | None = None
    local: bool = False
    arrived: bool = False
    notes: tuple[str, ...] = ()

    @property
    def space(self) -> Space:
        """The guest's own network namespace."""
        assert self.guest
        return self.guest.space

    @property
    def here(self) -> Packet:
        """The packet, once there is one."""
        assert self.packet
        return self.packet

    @property
    def goal(self) -> Endpoint:
        """Where the packet goes now."""
        return Endpoint(self.here.protocol, self.here.destination, self.here.port)

    def shell(self, *words: str) -> str:
        """The host's command that runs ``words`` in the guest: to be pasted, whatever names and rules the guest has."""
        command = " ".join(one if _PLAIN.fullmatch(one) else shlex.quote(one) for one in words)
        plain = all(map(_PLAIN.fullmatch, words))
        return f"portchain shell --guest {self.machine.host.guest} -- {command if plain else shlex.quote(command)}"

    def note(self, text: str) -> None:
        """Remember what breaks nothing."""
        text = text if len(text) <= _LONGEST_NOTE else f"{text[:_LONGEST_NOTE]}…"
        if text not in self.notes:
            self.notes += (text,)


def served_by(sockets: Sequence[Listener]) -> str:
    """For people: who holds the sockets."""
    holders = names(dict.fromkeys(p for one in sockets for p in one.processes))
    return f"held by {holders}" if holders else "listening" if sockets else "nobody listens"


def processes(sockets: Sequence[Listener]) -> list[dict[str, Any]]:
    """The same as facts: ``pid`` and ``command`` of each."""
    return [asdict(one) for one in dict.fromkeys(p for one in sockets for p in one.processes)]


@dataclass(frozen=True)
class Finding:
    """A hop, and the verdict where it is broken."""

    hop: Hop
    verdict: Verdict | None = None


# None: a chain like this has no such hop.
Step = Callable[[Way], Finding | None]


def ok(kind: str, side: str, title: str, says: str, **facts: Any) -> Finding:
    """A hop that is as it should be."""
    return Finding(Hop(kind, side, "ok", title, says, facts))


def listening(kind: str, side: str, at: Endpoint, sockets: Sequence[Listener], **facts: Any) -> Finding:
    """A hop of the sockets that take what comes to ``at``."""
    first = sockets[0].at if sockets else at
    title = first.place if first.address else f"*:{first.port}"
    listen = first.place if sockets else ""
    return ok(kind, side, title, served_by(sockets), listen=listen, processes=processes(sockets), **facts)


def unknown(kind: str, side: str, title: str, says: str, **facts: Any) -> Finding:
    """A hop that could not be looked at."""
    return Finding(Hop(kind, side, "unknown", title, says, facts))


def broken(hop: Finding, code: str, text: str, remedy: str) -> Finding:
    """The same hop, broken."""
    seen = hop.hop
    return Finding(
        Hop(seen.kind, seen.side, "broken", seen.title, text, seen.facts), Verdict(code, seen.kind, text, remedy)
    )
