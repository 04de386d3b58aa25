"""Simulate a packet's passage through the rules of one hook, as the kernel does it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

from .filter_rules import PLACES, Changes, Packet, Rule, RuleChain, RuleSet, Target

# Rules by identity.
Guessed = frozenset[int]
DESTINATION = ("dnat", "redirect")
# What is left out beyond this is as if it could not be known.
_MOST_RULES = 200_000
_DEEPEST = 64
# The end of a packet that goes nobody knows where.
_LOST = "lost"
# What a rule of each kind makes of a packet; others are named like that.
_ENDS = {"none": "next", "unknown": _LOST, **dict.fromkeys((*DESTINATION, "snat", "masquerade"), "accept")}
_CONNTRACK = -200
_LOOPBACK = {"ip": "127.0.0.1", "ip6": "::1"}


class Device(Protocol):
    """The part of a route that rules depend on."""

    @property
    def device(self) -> str:
        """The name of the interface that the route leads to."""

    @property
    def source(self) -> str:
        """The namespace's own address that packets along the route have; empty where it is not known."""


class Routing(Protocol):
    """The addresses and routes of a namespace; `trace.model.NetworkNamespace` is one."""

    def has_address(self, address: str) -> bool:
        """Tell whether an address is one of the namespace's own."""

    def route(self, address: str) -> Device | None:
        """Return the route to an address."""


@dataclass(frozen=True)
class Step:
    """A rule that the packet matched at a hook."""

    hook: str
    rule: Rule


@dataclass(frozen=True)
class Passage:
    """The outcome of a packet's passage: ``end`` is accept, drop or reject, or inside this package ``lost`` if unknown.

    ``by`` is the rule that dropped it, a rule without text where a chain's policy did. ``translation`` is the rule
    that rewrote the destination. ``unsure`` are rules of which it is not known whether they match: they are taken not
    to, unless the packet would come through if they did.
    """

    packet: Packet
    end: str = "accept"
    by: Rule | None = None
    steps: tuple[Step, ...] = ()
    translation: Rule | None = None
    unsure: tuple[Rule, ...] = ()

    def unsure_of(self, *kinds: str) -> Rule | None:
        """Return the first unsure rule whose target is of one of these kinds, or may lead to one that is."""
        return next((rule for rule in self.unsure if rule.target.kind in (*kinds, "jump", "goto", "unknown")), None)

    def then(self, other: Passage) -> Passage:
        """Return this passage followed by another."""
        return replace(
            other,
            steps=self.steps + other.steps,
            translation=self.translation or other.translation,
            unsure=self.unsure + other.unsure,
        )


class Hook:
    """One passage of ``packet`` through a hook; ``guessed`` are the unsure rules that are taken to match."""

    def __init__(
        self, rules: RuleSet, packet: Packet, hook: str, routing: Routing, guessed: Guessed = frozenset()
    ) -> None:
        self._rules = rules
        self.packet = packet
        self._hook = hook
        self._routing = routing
        self._local = cache(routing.has_address)
        self._guessed = guessed
        self._left = _MOST_RULES
        self.steps: list[Step] = []
        self.unsure: list[Rule] = []
        self.translation: Rule | None = None
        self.hidden = False

    def through(self, back: Changes | None = None) -> Passage:
        """Pass all base chains; ``back`` undoes translations at the point where the kernel does."""
        packet, tracks = self.packet, self._hook in ("prerouting", "output")
        for chain in self._rules.bases(packet.family, self._hook):
            if back and chain.kind != "nat" and chain.priority > PLACES[self._hook]:
                self.packet, back = back(self.packet), None
            if chain.kind == "nat" and (self.packet.state != "NEW" or self.translation or self.hidden):
                continue
            # What comes before conntrack sees no state, but of what came over `lo` and was tracked on its way out.
            early = tracks and chain.priority < _CONNTRACK and packet.inward != "lo"
            if early := early and self.packet.state == packet.state:
                self.packet = replace(self.packet, state="INVALID", translated=False)
            end, by = self.base(chain)
            if early and self.packet.state == "INVALID":
                self.packet = replace(self.packet, state=packet.state, translated=packet.translated)
            if end != "accept":
                return self.passage(end, by)
        self.packet = back(self.packet) if back else self.packet
        return self.passage("accept", None)

    def base(self, chain: RuleChain) -> tuple[str, Rule | None]:
        """Pass a base chain; return the outcome and the rule that gave it."""
        end, by = self._chain(chain, 0)
        if end == "return":
            policy = chain.policy
            return policy, Rule(chain.table, chain.name, "") if policy != "accept" else None
        return end, by

    def passage(self, end: str, by: Rule | None) -> Passage:
        """Return the passage up to now."""
        return Passage(self.packet, end, by, tuple(self.steps), self.translation, tuple(self.unsure))

    def _chain(self, chain: RuleChain, depth: int) -> tuple[str, Rule | None]:
        for rule in chain.rules:
            self._left -= 1
            if self._left < 0:
                self.unsure.append(rule)
                return _LOST, None
            if not self._matches(rule):
                continue
            self.steps.append(Step(self._hook, rule))
            end, by = self._act(rule, depth)
            if end != "next":
                return end, by
        return "return", None

    def _matches(self, rule: Rule) -> bool:
        unsure = rule.target.kind == "unknown"
        for match in rule.matches:
            result = match.test(self.packet, self._local)
            if result is False:
                return False
            unsure |= result is None
        if not unsure or (rule.target.kind == "none" and not rule.target.changes):
            return not unsure
        self.unsure.append(rule)
        return id(rule) in self._guessed

    def _act(self, rule: Rule, depth: int) -> tuple[str, Rule | None]:
        target, kind = rule.target, rule.target.kind
        if target.changes:
            self.packet = target.changes(self.packet)
        if kind in ("jump", "goto"):
            return self._jump(rule, depth)
        if kind in DESTINATION:
            self._translate(rule)
        elif kind in ("snat", "masquerade"):
            own = target.address or self._own(self.packet.destination)
            first = self.packet.original or self.packet
            self.packet = replace(self.packet, source=own or self.packet.source, original=first)
            self.hidden = True
        return _ENDS.get(kind, kind), rule

    def _jump(self, rule: Rule, depth: int) -> tuple[str, Rule | None]:
        inner = self._rules.chain(rule.table, rule.target.chain)
        if inner is None or depth > _DEEPEST:
            self.unsure.append(rule)
            return _LOST if id(rule) in self._guessed else "next", rule
        end, by = self._chain(inner, depth + 1)
        return ("next" if end == "return" and rule.target.kind == "jump" else end), by

    def _translate(self, rule: Rule) -> None:
        target, packet = rule.target, self.packet
        own = self._own(packet.source) if self._hook == "prerouting" else ""
        redirected = (own or _LOOPBACK[packet.family]) if target.kind == "redirect" else packet.destination
        translated = replace(packet, destination=target.address or redirected, port=_port(target, packet.port))
        # Conntrack's flag is for what really changed.
        if translated != packet:
            translated = replace(translated, translated=True, original=packet.original or packet)
        self.packet = translated
        self.translation = rule

    def _own(self, address: str) -> str:
        """Return the namespace's own address toward another."""
        route = self._routing.route(address)
        return route.source if route else ""


def _port(target: Target, port: int) -> int:
    low, high = target.ports or (port, port)
    if target.base:
        return low + (port - target.base) % (high - low + 1)
    return port if low <= port <= high else low
