"""A chain: the hops from a host port to a server, the state of each, and the verdict on the whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .model import HostForward
from .unpublished import Unpublished

SCHEMA = 1
# In the order in which a connection meets them.
KINDS = (
    "host-socket",
    "forward",
    "guest-listener",
    "proxy",
    "nat",
    "filter",
    "bridge",
    "veth",
    "container",
    "container-socket",
)


@dataclass(frozen=True)
class Hop:
    """One hop.

    ``side`` is host, guest or container. ``state`` is ok, broken, unknown, or skipped for those after a broken one.
    ``title`` names it (``*:8080``); ``says`` is what was seen there, for people; ``facts`` is the same as data, whose
    shape is in docs/reference/trace.schema.json. ``microseconds`` is how long a probe took to here from the hop
    before, ``evidence`` what shows that it passed.
    """

    kind: str
    side: str
    state: str
    title: str
    says: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    microseconds: float | None = None
    evidence: str = ""


def skipped_hops(kind: str) -> Iterator[Hop]:
    """Return the hops after a broken one; docker-proxy is named only where it was seen."""
    for skipped in KINDS[KINDS.index(kind) + 1 :]:
        side = "host" if skipped in KINDS[:2] else "container" if skipped in KINDS[-2:] else "guest"
        if skipped != "proxy":
            yield Hop(skipped, side, "skipped", "", "not looked at")


@dataclass(frozen=True)
class Verdict:
    """The first thing that breaks a chain: ``code`` is from docs/reference/verdicts.md, ``hop`` is a kind of hop."""

    code: str
    hop: str
    text: str
    remedy: str


@dataclass(frozen=True)
class Chain:
    """The hops from one endpoint of the host to a server; whole without ``verdict``. ``notes`` break nothing."""

    listen: str
    target: str
    protocol: str
    owner: str
    hops: tuple[Hop, ...]
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()
    probe: dict[str, Any] | None = None

    def hop(self, kind: str) -> Hop | None:
        """Return the hop of a kind, if the chain has one."""
        return next((hop for hop in self.hops if hop.kind == kind), None)

    @property
    def redirect_hop(self) -> Hop | None:
        """The hop that leads on from the guest's listener: the nat rule, or docker-proxy."""
        redirects = [hop for hop in self.hops if hop.kind in ("proxy", "nat") and hop.state != "skipped"]
        return redirects[-1] if redirects else None

    @property
    def redirect_target(self) -> str:
        """The endpoint that the redirect hop leads to; empty where there is none, or it leads nowhere."""
        return str(self.redirect_hop.facts.get("to") or "") if self.redirect_hop else ""


@dataclass(frozen=True)
class Trace:
    """All chains of what was asked for.

    ``verdict`` is that of the first broken chain. ``unpublished`` is what the engine does not publish by design; it
    is filled only where the whole machine was asked for.
    """

    guest: str
    asked: str
    time: float
    chains: tuple[Chain, ...]
    verdict: Verdict | None = None
    unpublished: tuple[Unpublished, ...] = ()

    def with_chains(self, chains: tuple[Chain, ...]) -> Trace:
        """Return the trace with other chains and their verdict."""
        return replace(self, chains=chains, verdict=next((chain.verdict for chain in chains if chain.verdict), None))

    def as_dict(self) -> dict[str, Any]:
        """Return the trace as ``--json`` prints it."""
        return {"schema": SCHEMA, **asdict(self)}


def label(forward: HostForward) -> str:
    """Return a forward's name: ``:8080``, ``udp:127.0.0.1:53``."""
    listen = forward.listen
    return f"udp:{listen.hostport}" if listen.protocol == "udp" else listen.hostport
