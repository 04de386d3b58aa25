"""A packet's way from hook to hook, as the kernel takes it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from .hook import DESTINATION, Guessed, Hook, Passage, Routing
from .model import Packet, Rule, RuleSet

_MOST_GUESSES = 32


def _through(rules: RuleSet, packet: Packet, names: Iterable[str], routing: Routing, guessed: Guessed) -> Passage:
    passage = Passage(packet)
    for name in names:
        passage = passage.then(Hook(rules, passage.packet, name, routing, guessed).through())
        if passage.end != "accept":
            break
    return passage


def _in_doubt(take: Callable[[Guessed], Passage]) -> Passage:
    """The passage where no unsure rule matches; where that one ends, one that comes through, if any could."""
    first = take(frozenset())
    waiting: list[tuple[Passage, Guessed]] = [(first, frozenset())]
    left = _MOST_GUESSES
    while waiting:
        passage, guessed = waiting.pop()
        if passage.end not in ("drop", "reject") or not left:
            return replace(passage, end="accept", by=None)
        more = [guessed | {id(one)} for one in passage.unsure if one.target.kind not in ("drop", "reject")]
        new = [one for one in more if one != guessed][:left]
        left -= len(new)
        waiting += ((take(one), one) for one in new)
    return first


def _outward(packet: Packet, routing: Routing) -> Packet:
    route = routing.route(packet.destination)
    device = "lo" if routing.has_address(packet.destination) else route.device if route else ""
    return replace(packet, outward=device)


def send(rules: RuleSet, packet: Packet, routing: Routing) -> Passage:
    """The way of a packet that is made here; one for an own address comes in again, on ``lo``.

    A rule of ``nat`` reroutes it; the rest of hook output still meets it with the interface it had.
    """
    return _in_doubt(lambda guessed: _send(rules, packet, routing, guessed))


def _send(rules: RuleSet, packet: Packet, routing: Routing, guessed: Guessed) -> Passage:
    out = Hook(rules, _outward(packet, routing), "output", routing, guessed).through()
    if out.end != "accept":
        return out
    onward = _outward(out.packet, routing)
    out = out.then(Hook(rules, onward, "postrouting", routing, guessed).through())
    if out.end != "accept" or not routing.has_address(out.packet.destination):
        return out
    again = replace(out.packet, inward="lo", outward="")
    return out.then(_through(_without_nat(rules), again, ("prerouting", "input"), routing, guessed))


def _without_nat(rules: RuleSet) -> RuleSet:
    """The rules that a packet meets whose connection conntrack knows by now."""
    return replace(rules, chains=tuple(one for one in rules.chains if one.kind != "nat" or not one.hook))


def arrive(rules: RuleSet, packet: Packet, routing: Routing) -> Passage:
    """The way of a packet that comes in by ``inward``: to a socket here, or through."""
    return _in_doubt(lambda guessed: _arrive(rules, packet, routing, guessed))


def _arrive(rules: RuleSet, packet: Packet, routing: Routing, guessed: Guessed) -> Passage:
    first = Hook(rules, packet, "prerouting", routing, guessed).through()
    if first.end != "accept":
        return first
    if routing.has_address(first.packet.destination):
        return first.then(Hook(rules, first.packet, "input", routing, guessed).through())
    onward = _outward(first.packet, routing)
    return first.then(_through(rules, onward, ("forward", "postrouting"), routing, guessed))


def answer(rules: RuleSet, sent: Passage, routing: Routing) -> Passage:
    """The way back in of the answer to a packet that was made here and ``sent`` to somewhere else."""
    end = sent.packet
    first = end.original or end
    comes = Packet(
        end.protocol,
        end.destination,
        end.source,
        end.source_port,
        end.port,
        end.outward,
        state="ESTABLISHED",
        translated=end.translated,
        connection_mark=end.connection_mark,
    )
    if end.state == "UNTRACKED":  # to conntrack it is the first, and TCP does not begin with an answer
        state = "INVALID" if end.protocol == "tcp" else "NEW"
        return arrive(rules, replace(comes, state=state, connection_mark=None), routing)

    def to(seen: Packet) -> Packet:
        return seen if seen.state == "UNTRACKED" else replace(seen, destination=first.source)

    def of(seen: Packet) -> Packet:
        return seen if seen.state == "UNTRACKED" else replace(seen, source=first.destination, source_port=first.port)

    def take(guessed: Guessed) -> Passage:
        passage = Hook(rules, comes, "prerouting", routing, guessed).through(to)
        if passage.end != "accept":
            return passage
        return passage.then(Hook(rules, passage.packet, "input", routing, guessed).through(of))

    return _in_doubt(take)


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
    return nat and rule.target.kind in ("return", "accept", "goto", *DESTINATION)


def _without(rules: RuleSet, taken: Rule) -> RuleSet:
    chains = (replace(one, rules=tuple(rule for rule in one.rules if rule is not taken)) for one in rules.chains)
    return replace(rules, chains=tuple(chains))
