"""Rules of the packet filter, whichever tool wrote them, and the packet that meets them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
# Chains of kind nat are walked at one place of a hook; their own priorities order them there.
PLACES = {"prerouting": -100, "input": 100, "forward": 0, "output": -100, "postrouting": 100}


@dataclass(frozen=True)
class Packet:
    """A packet at one place of its way. ``inward`` and ``outward`` are interfaces' names, empty where it has none.

    ``protocol`` is tcp or udp; addresses are numeric, both of one family; ``state`` is conntrack's: NEW, ESTABLISHED,
    or UNTRACKED. Marks are None where they cannot be known. ``original`` is the packet before it was translated.
    """

    protocol: str
    source: str
    destination: str
    port: int
    source_port: int = 40000
    inward: str = ""
    outward: str = ""
    state: str = "NEW"
    translated: bool = False
    mark: int | None = 0
    connection_mark: int | None = None
    original: Packet | None = None

    def enters(self, inward: str) -> Packet:
        """The same as another namespace gets it, where nothing is known of it yet."""
        return Packet(self.protocol, self.source, self.destination, self.port, self.source_port, inward)

    def tracked_mark(self) -> int | None:
        """The mark of its connection, which a new one has not got."""
        return 0 if self.connection_mark is None and self.state == "NEW" else self.connection_mark

    @property
    def family(self) -> str:
        """``ip`` or ``ip6``."""
        return "ip6" if ":" in self.destination else "ip"


# What a rule does to a packet besides where it leads it: marks, mostly.
Changes = Callable[[Packet], Packet]
# Whether a match that knows the packet and the namespace's own addresses lets it through; None: it cannot be known.
Matches = Callable[[Packet, Callable[[str], bool]], bool | None]


@dataclass(frozen=True)
class Match:
    """One condition of a rule, ``text`` as its tool writes it."""

    text: str
    test: Matches = field(compare=False, repr=False)


@dataclass(frozen=True)
class Target:
    """What a rule does. ``kind`` is accept, drop, reject, return, jump, goto, dnat, snat, masquerade, redirect, none.

    ``none`` goes on with the next rule (a counter, a log). ``unknown`` is all that is not understood. ``chain`` is
    where jump and goto lead; ``address`` and ``ports`` what dnat, snat or redirect put in place, empty where they leave
    it: of several ports it is the packet's own, if that is among them, else the first. With ``base`` the packet's
    distance from that port is kept.
    """

    kind: str
    chain: str = ""
    address: str = ""
    ports: tuple[int, int] | None = None
    base: int = 0
    changes: Changes | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Rule:
    """One rule of ``chain`` in ``table``; ``text`` is its tool's own line. Counters are what met it."""

    table: str
    chain: str
    text: str
    matches: tuple[Match, ...] = ()
    target: Target = Target("none")
    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Chain:
    """A chain. A base chain has a ``hook`` (one of HOOKS), a ``priority`` and a ``policy``, accept or drop."""

    table: str
    name: str
    rules: tuple[Rule, ...] = ()
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    kind: str = "filter"


@dataclass(frozen=True)
class RuleSet:
    """All chains of a namespace. A table's name begins with its family: ``ip nat``, ``ip6 filter``, ``inet own``.

    ``unknown`` are lines that were not understood, for people.
    """

    chains: tuple[Chain, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def tables(self) -> frozenset[str]:
        """Their names."""
        return frozenset(one.table for one in self.chains)

    def chain(self, table: str, name: str) -> Chain | None:
        """By table and name."""
        return next((one for one in self.chains if (one.table, one.name) == (table, name)), None)

    def bases(self, family: str, hook: str) -> list[Chain]:
        """The base chains that a packet of ``family`` meets at a hook, in the order in which it meets them."""
        met = [c for c in self.chains if c.hook == hook and c.table.partition(" ")[0] in (family, "inet")]
        return sorted(met, key=lambda c: (PLACES[hook] if c.kind == "nat" else c.priority, c.priority))

    def joined(self, other: RuleSet) -> RuleSet:
        """Both."""
        return replace(self, chains=self.chains + other.chains, unknown=self.unknown + other.unknown)
