"""The state of a walk along a chain, and the findings that hops give."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...ports.forward import Endpoint
from ..chain import Hop, Verdict
from ..model import Container, Guest, HostForward, Link, Listener, Machine, Network, NetworkNamespace, format_processes
from ..rules.filter_rules import Packet
from ..rules.hook_passage import Passage

_LONGEST_NOTE = 400  # letters
# Words that no shell takes for anything else.
_PLAIN = re.compile(r"[\w@%+=:,./-]+|!", re.ASCII)
# Where a forwarded connection comes from in the guest, by family.
LOOPBACK = {4: "127.0.0.1", 6: "::1"}


@dataclass
class ChainWalk:
    """A packet on its path from ``forward`` to a server; each hop reads where the packet is and moves it on.

    ``packet`` is the packet as it is now, ``passage`` its path through the guest's rules. Where docker-proxy accepts
    the connection, ``proxied`` is the endpoint that it dials, and ``to_proxy`` the passage up to it. ``local`` is set
    where the guest itself has the server, ``arrived`` where no hop is left.
    """

    machine: Machine
    forward: HostForward
    guest: Guest | None = None
    packet: Packet | None = None
    passage: Passage | None = None
    proxied: Endpoint | None = None
    to_proxy: Passage | None = None
    bridge: Link | None = None
    network: Network | None = None
    container: Container | None = None
    local: bool = False
    arrived: bool = False
    notes: tuple[str, ...] = ()

    @property
    def space(self) -> NetworkNamespace:
        """The guest's own network namespace."""
        assert self.guest
        return self.guest.space

    @property
    def current(self) -> Packet:
        """The packet; there has to be one."""
        assert self.packet
        return self.packet

    @property
    def destination(self) -> Endpoint:
        """The endpoint that the packet goes to now."""
        return Endpoint(self.current.protocol, self.current.destination, self.current.port)

    def shell(self, *words: str) -> str:
        """Return the host's command that runs ``words`` in the guest, quoted so that it can be pasted."""
        command = " ".join(word if _PLAIN.fullmatch(word) else shlex.quote(word) for word in words)
        plain = all(map(_PLAIN.fullmatch, words))
        return f"portchain shell --guest {self.machine.host.guest} -- {command if plain else shlex.quote(command)}"

    def note(self, text: str) -> None:
        """Remember something that breaks nothing."""
        text = text if len(text) <= _LONGEST_NOTE else f"{text[:_LONGEST_NOTE]}…"
        if text not in self.notes:
            self.notes += (text,)


def served_by(sockets: Sequence[Listener]) -> str:
    """Return who holds the sockets, for people."""
    holders = format_processes(dict.fromkeys(process for listener in sockets for process in listener.processes))
    return f"held by {holders}" if holders else "listening" if sockets else "nobody listens"


def processes(sockets: Sequence[Listener]) -> list[dict[str, Any]]:
    """Return who holds the sockets as facts: ``pid`` and ``command`` of each."""
    holders = dict.fromkeys(process for listener in sockets for process in listener.processes)
    return [asdict(process) for process in holders]


@dataclass(frozen=True)
class Finding:
    """A hop, and the verdict if it is broken."""

    hop: Hop
    verdict: Verdict | None = None


# None: a chain like this has no such hop.
Step = Callable[[ChainWalk], Finding | None]


def ok(kind: str, side: str, title: str, says: str, **facts: Any) -> Finding:
    """Return a hop that is as it should be."""
    return Finding(Hop(kind, side, "ok", title, says, facts))


def listening(kind: str, side: str, at: Endpoint, sockets: Sequence[Listener], **facts: Any) -> Finding:
    """Return a hop of the sockets that take what comes to ``at``."""
    first = sockets[0].at if sockets else at
    title = first.display()
    listen = first.hostport if sockets else ""
    return ok(kind, side, title, served_by(sockets), listen=listen, processes=processes(sockets), **facts)


def unknown(kind: str, side: str, title: str, says: str, **facts: Any) -> Finding:
    """Return a hop that could not be examined."""
    return Finding(Hop(kind, side, "unknown", title, says, facts))


def broken(finding: Finding, code: str, text: str, remedy: str) -> Finding:
    """Return the hop as broken."""
    hop = finding.hop
    return Finding(Hop(hop.kind, hop.side, "broken", hop.title, text, hop.facts), Verdict(code, hop.kind, text, remedy))
