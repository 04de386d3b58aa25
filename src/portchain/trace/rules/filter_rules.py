"""Rules of the packet filter, whichever tool wrote them, and the packet that meets them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
# Chains of kind nat are walked at one place of a hook; their own priorities order them there.
PLACES = {"prerouting": -100, "input": 100, "forward": 0, "output": -100, "postrouting": 100}


@dataclass(frozen=True)
class Packet:
    """A packet at one point of its path.

    ``inward`` and ``outward`` are names of interfaces, empty where it has none. ``protocol`` is tcp or udp; addresses
    are numeric, both of one family; ``state`` is conntrack's: NEW, ESTABLISHED or UNTRACKED. Marks are None where
    they cannot be known. ``original`` is the packet before it was translated.
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
        """Return the packet as another namespace gets it, where no rule has met it yet."""
        return Packet(self.protocol, self.source, self.destination, self.port, self.source_port, inward)

    def tracked_mark(self) -> int | None:
        """Return the mark of its connection, 0 for a new one that has none."""
        return 0 if self.connection_mark is None and self.state == "NEW" else self.connection_mark

    @property
    def family(self) -> str:
        """The address family, ``ip`` or ``ip6``."""
        return "ip6" if ":" in self.destination else "ip"


# What a rule does to a packet besides where it leads it: marks, mostly.
Changes = Callable[[Packet], Packet]
# Whether a match that knows the packet and the namespace's own addresses lets it through; None: it cannot be known.
Matches = Callable[[Packet, Callable[[str], bool]], bool | None]


@dataclass(frozen=True)
class Match:
    """One condition of a rule, with ``text`` as its tool writes it."""

    text: str
    test: Matches = field(compare=False, repr=False)


@dataclass(frozen=True)
class Target:
    """What a rule does with a packet.

    ``kind`` is accept, drop, reject, return, jump, goto, dnat, snat, masquerade, redirect, none (go on with the next
    rule, as a counter does) or unknown (not understood). ``chain`` is where jump and goto lead. ``address`` and
    ``ports`` are what dnat, snat or redirect put in place, empty for what they keep: of several ports it is the
    packet's own if that is among them, else the first. With ``base`` the packet's distance from that port is kept.
    """

    kind: str
    chain: str = ""
    address: str = ""
    ports: tuple[int, int] | None = None
    base: int = 0
    changes: Changes | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Rule:
    """One rule of ``chain`` in ``table``; ``text`` is its tool's own line, counters are what it matched."""

    table: str
    chain: str
    text: str
    matches: tuple[Match, ...] = ()
    target: Target = Target("none")
    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class RuleChain:
    """A chain of rules. A base chain has a ``hook`` (one of HOOKS), a ``priority`` and a ``policy``, accept or drop."""

    table: str
    name: str
    rules: tuple[Rule, ...] = ()
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    kind: str = "filter"


@dataclass(frozen=True)
class RuleSet:
    """All chains of a network namespace.

    A table's name begins with its family: ``ip nat``, ``ip6 filter``, ``inet own``. ``unknown`` are lines that were
    not understood, for people.
    """

    chains: tuple[RuleChain, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def tables(self) -> frozenset[str]:
        """The names of all tables."""
        return frozenset(chain.table for chain in self.chains)

    def chain(self, table: str, name: str) -> RuleChain | None:
        """Return the chain with a table and name."""
        return self._by_name.get((table, name))

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], RuleChain]:
        return {(chain.table, chain.name): chain for chain in reversed(self.chains)}

    def bases(self, family: str, hook: str) -> list[RuleChain]:
        """Return the base chains that a packet of ``family`` meets at a hook, in that order."""
        chains = [
            chain for chain in self.chains if chain.hook == hook and chain.table.partition(" ")[0] in (family, "inet")
        ]
        return sorted(
            chains, key=lambda chain: (PLACES[hook] if chain.kind == "nat" else chain.priority, chain.priority)
        )

    def joined(self, other: RuleSet) -> RuleSet:
        """Return the chains of both."""
        return replace(self, chains=self.chains + other.chains, unknown=self.unknown + other.unknown)
