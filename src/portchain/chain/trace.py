"""A chain: the hops from a host port to a server, how each is, and the verdict on the whole."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .model import HostForward

SCHEMA = 1
# In the order in which a connection meets them.
KINDS = (
    "host-socket",
    "forward",
    "guest-listener",
    "nat",
    "filter",
    "bridge",
    "veth",
    "container",
    "container-socket",
)


@dataclass(frozen=True)
class Hop:
    """One hop. ``side`` is host, guest or container; ``state`` ok, broken, unknown or skipped (beyond a broken one).

    ``title`` is what it is (``*:8080``), ``says`` what was seen there, for people. ``facts`` are the same as data,
    docs/trace.schema.json has their shape. ``microseconds`` is how long a probe took from the hop before to here,
    ``evidence`` what shows that it passed.
    """

    kind: str
    side: str
    state: str
    title: str
    says: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    microseconds: float | None = None
    evidence: str = ""


def skipped(kind: str) -> Hop:
    """A hop beyond the broken one."""
    side = "host" if kind in KINDS[:2] else "container" if kind in KINDS[-2:] else "guest"
    return Hop(kind, side, "skipped", "", "not looked at")


@dataclass(frozen=True)
class Verdict:
    """The first thing that breaks a chain: ``code`` is a word of docs/trace.md's table, ``hop`` a kind of hop."""

    code: str
    hop: str
    text: str
    remedy: str


@dataclass(frozen=True)
class Chain:
    """The way from one endpoint of the host. Without ``verdict`` it is whole. ``notes`` break nothing."""

    listen: str
    target: str
    protocol: str
    owner: str
    hops: tuple[Hop, ...]
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()
    probe: dict[str, Any] | None = None

    def hop(self, kind: str) -> Hop | None:
        """The hop of a kind, if the chain has one."""
        return next((one for one in self.hops if one.kind == kind), None)


@dataclass(frozen=True)
class Trace:
    """All chains of what was asked for. ``verdict`` is that of the first broken one, or that there is none at all."""

    guest: str
    asked: str
    time: float
    chains: tuple[Chain, ...]
    verdict: Verdict | None = None

    def with_chains(self, chains: tuple[Chain, ...]) -> Trace:
        """The same of other chains, the verdict theirs."""
        return replace(self, chains=chains, verdict=next((one.verdict for one in chains if one.verdict), None))

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"schema": SCHEMA, **asdict(self)}


def label(forward: HostForward) -> str:
    """How a forward is named: ``:8080``, ``udp:127.0.0.1:53``."""
    listen = forward.listen
    return f"udp:{listen.place}" if listen.protocol == "udp" else listen.place
