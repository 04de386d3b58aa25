"""A packet's way through the rules, as the kernel takes it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from .model import Chain, Packet, Rule, RuleSet

Local = Callable[[str], bool]
_MOST_STEPS = 20_000
_DEEPEST = 64
_DESTINATION = ("dnat", "redirect")
_CONNTRACK = -200
_LOOPBACK = {"ip": "127.0.0.1", "ip6": "::1"}


class Device(Protocol):
    """A route, as far as it matters here."""

    @property
    def device(self) -> str:
        """The name of the interface that it leads to."""

    @property
    def source(self) -> str:
        """The namespace's own address that packets along it bear; empty where it is not known."""


class Routing(Protocol):
    """What a namespace knows of addresses: `chain.model.Space` does."""

    def has_address(self, address: str) -> bool:
        """Whether it is one of the namespace's own."""

    def route(self, address: str) -> Device | None:
        """The route to it."""


@dataclass(frozen=True)
class Step:
    """A rule that the packet met at a hook."""

    hook: str
    rule: Rule


@dataclass(frozen=True)
class Passage:
    """How a packet came through. ``end`` is accept, drop or reject.

    ``by`` is the rule that dropped it, a rule without text where a chain's policy did. ``translation`` is the rule that
    rewrote the destination. ``unsure`` are rules whose conditions cannot be known, taken not to match.
    """

    packet: Packet
    end: str = "accept"
    by: Rule | None = None
    steps: tuple[Step, ...] = ()
    translation: Rule | None = None
    unsure: tuple[Rule, ...] = ()

    def then(self, other: Passage) -> Passage:
        """One after the other."""
        return replace(
            other,
            steps=self.steps + other.steps,
            translation=self.translation or other.translation,
            unsure=self.unsure + other.unsure,
        )


class _Walk:
    """One base chain being walked."""

    def __init__(self, rules: RuleSet, packet: Packet, hook: str, local: Local, routing: Routing | None) -> None:
        self._rules = rules
        self.packet = packet
        self._hook = hook
        self._local = local
        self._routing = routing
        self.steps: list[Step] = []
        self.unsure: list[Rule] = []
        self.translation: Rule | None = None
        self.hidden = False

    def base(self, chain: Chain) -> tuple[str, Rule | None]:
        """The outcome of a base chain and the rule that gave it."""
        end, by = self._chain(chain, 0)
        if end == "return":
            policy = chain.policy
            return policy, Rule(chain.table, chain.name, "") if policy != "accept" else None
        return end, by

    def _chain(self, chain: Chain, depth: int) -> tuple[str, Rule | None]:
        for rule in chain.rules:
            if len(self.steps) > _MOST_STEPS or not self._matches(rule):
                continue
            self.steps.append(Step(self._hook, rule))
            end, by = self._act(rule, depth)
            if end != "next":
                return end, by
        return "return", None

    def _matches(self, rule: Rule) -> bool:
        unsure = False
        for one in rule.matches:
            found = one.test(self.packet, self._local)
            if found is False:
                return False
            unsure |= found is None
        if unsure:
            self.unsure.append(rule)
        return not unsure

    def _act(self, rule: Rule, depth: int) -> tuple[str, Rule | None]:
        kind = rule.target.kind
        if kind == "none":
            target = rule.target
            self.packet = replace(self.packet, mark=self.packet.mark & ~target.mask ^ target.mark)
            return "next", None
        if kind in ("jump", "goto"):
            inner = self._rules.chain(rule.table, rule.target.chain)
            if inner is None or depth > _DEEPEST:
                return "next", None
            end, by = self._chain(inner, depth + 1)
            return ("next" if end == "return" and kind == "jump" else end), by
        if kind in _DESTINATION:
            self._translate(rule)
            return "accept", rule
        if kind in ("snat", "masquerade"):
            own = rule.target.address or self._own(self.packet.destination)
            self.packet = replace(self.packet, source=own or self.packet.source)
            self.hidden = True
            return "accept", rule
        return kind, rule

    def _translate(self, rule: Rule) -> None:
        target, packet = rule.target, self.packet
        here = self._own(packet.source) if self._hook == "prerouting" else ""
        redirected = (here or _LOOPBACK[packet.family]) if target.kind == "redirect" else packet.destination
        address = target.address or redirected
        moved = replace(packet, destination=address, port=target.port or packet.port)
        # Conntrack's flag is for what really changed.
        self.packet = replace(moved, translated=packet.translated or moved != packet)
        self.translation = rule

    def _own(self, toward: str) -> str:
        route = self._routing.route(toward) if self._routing else None
        return route.source if route else ""


def hook(rules: RuleSet, packet: Packet, name: str, local: Local, routing: Routing | None = None) -> Passage:
    """Through all base chains of one hook, in the order of their priorities."""
    walk = _Walk(rules, packet, name, local, routing)
    tracks = name in ("prerouting", "output")
    for chain in rules.bases(packet.family, name):
        if chain.kind == "nat" and (packet.state != "NEW" or walk.translation or walk.hidden):
            continue
        # What comes before conntrack sees no state, but of what came over `lo` and was tracked on its way out.
        if untracked := tracks and chain.priority < _CONNTRACK and packet.inward != "lo":
            walk.packet = replace(walk.packet, state="INVALID")
        end, by = walk.base(chain)
        if untracked:
            walk.packet = replace(walk.packet, state=packet.state)
        if end != "accept":
            return Passage(walk.packet, end, by, tuple(walk.steps), walk.translation, tuple(walk.unsure))
    return Passage(walk.packet, "accept", None, tuple(walk.steps), walk.translation, tuple(walk.unsure))


def _through(rules: RuleSet, packet: Packet, names: Iterator[str], routing: Routing) -> Passage:
    passage = Passage(packet)
    for name in names:
        passage = passage.then(hook(rules, passage.packet, name, routing.has_address, routing))
        if passage.end != "accept":
            break
    return passage


def _outward(packet: Packet, routing: Routing) -> Packet:
    route = routing.route(packet.destination)
    device = "lo" if routing.has_address(packet.destination) else route.device if route else ""
    return replace(packet, outward=device)


def send(rules: RuleSet, packet: Packet, routing: Routing) -> Passage:
    """The way of a packet that is made here; one for an own address comes in again, on ``lo``.

    A rule of ``nat`` reroutes it; the rest of hook output still meets it with the interface it had.
    """
    out = hook(rules, _outward(packet, routing), "output", routing.has_address, routing)
    if out.end != "accept":
        return out
    onward = _outward(out.packet, routing)
    out = out.then(hook(rules, onward, "postrouting", routing.has_address, routing))
    if out.end != "accept" or not routing.has_address(out.packet.destination):
        return out
    again = replace(out.packet, inward="lo", outward="")
    return out.then(_through(_without_nat(rules), again, iter(("prerouting", "input")), routing))


def _without_nat(rules: RuleSet) -> RuleSet:
    """The rules that a packet meets whose connection conntrack knows by now."""
    return replace(rules, chains=tuple(one for one in rules.chains if one.kind != "nat" or not one.hook))


def arrive(rules: RuleSet, packet: Packet, routing: Routing) -> Passage:
    """The way of a packet that comes in by ``inward``: to a socket here, or through."""
    first = hook(rules, packet, "prerouting", routing.has_address, routing)
    if first.end != "accept":
        return first
    if routing.has_address(first.packet.destination):
        return first.then(hook(rules, first.packet, "input", routing.has_address, routing))
    onward = _outward(first.packet, routing)
    return first.then(_through(rules, onward, iter(("forward", "postrouting")), routing))


@dataclass(frozen=True)
class Shadow:
    """``rule`` would rewrite the destination, had ``by`` not taken the packet before."""

    rule: Rule
    by: Rule


def shadowed(rules: RuleSet, packet: Packet, routing: Routing) -> Shadow | None:
    """What keeps a packet made here from the rule that would rewrite its destination; None for want of such a rule."""
    passage = send(rules, packet, routing)
    taken = [step.rule for step in passage.steps if step.hook == "output" and _ends(step.rule, rules)]
    for by in reversed(taken):
        without = send(_without(rules, by), packet, routing)
        if without.translation:
            return Shadow(without.translation, by)
    return None


def _ends(rule: Rule, rules: RuleSet) -> bool:
    chain = rules.chain(rule.table, rule.chain)
    nat = rule.table.endswith(" nat") or (chain is not None and chain.kind == "nat")
    return nat and rule.target.kind in ("return", "accept", "goto", *_DESTINATION)


def _without(rules: RuleSet, taken: Rule) -> RuleSet:
    chains = (replace(one, rules=tuple(rule for rule in one.rules if rule is not taken)) for one in rules.chains)
    return replace(rules, chains=tuple(chains))
