"""Simulate a packet's path from hook to hook, as the kernel does it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from .filter_rules import Packet, Rule, RuleSet
from .hook_passage import DESTINATION, Guessed, Hook, Passage, Routing

_MOST_GUESSES = 32
_MOST_TRIED = 32


def _through(rules: RuleSet, packet: Packet, names: Iterable[str], routing: Routing, guessed: Guessed) -> Passage:
    passage = Passage(packet)
    for name in names:
        passage = passage.then(Hook(rules, passage.packet, name, routing, guessed).through())
        if passage.end != "accept":
            break
    return passage


def _in_doubt(simulate: Callable[[Guessed], Passage]) -> Passage:
    """Return the passage where no unsure rule matches; where that is dropped, one that comes through if any could."""
    first = simulate(frozenset())
    waiting: list[tuple[Passage, Guessed]] = [(first, frozenset())]
    guesses_left = _MOST_GUESSES
    while waiting:
        passage, guessed = waiting.pop()
        if passage.end not in ("drop", "reject") or not guesses_left:
            return replace(passage, end="accept", by=None)
        guesses = [guessed | {id(rule)} for rule in passage.unsure if rule.target.kind not in ("drop", "reject")]
        untried = [rule for rule in guesses if rule != guessed][:guesses_left]
        guesses_left -= len(untried)
        waiting += ((simulate(rule), rule) for rule in untried)
    return first


def _outward(packet: Packet, routing: Routing) -> Packet:
    route = routing.route(packet.destination)
    device = "lo" if routing.has_address(packet.destination) else route.device if route else ""
    return replace(packet, outward=device)


def send(rules: RuleSet, packet: Packet, routing: Routing) -> Passage:
    """Send a packet from this namespace; one for an own address enters again, on ``lo``.

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
    """Return the rules that a packet meets whose connection conntrack knows by now."""
    return replace(rules, chains=tuple(chain for chain in rules.chains if chain.kind != "nat" or not chain.hook))


def arrive(rules: RuleSet, packet: Packet, routing: Routing) -> Passage:
    """Receive a packet by ``inward``, to a socket of this namespace or to forward it."""
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
    """Receive the answer to a packet that was ``sent`` from this namespace to another."""
    request = sent.packet
    sent_packet = request.original or request
    reply = Packet(
        request.protocol,
        request.destination,
        request.source,
        request.source_port,
        request.port,
        request.outward,
        state="ESTABLISHED",
        translated=request.translated,
        connection_mark=request.connection_mark,
    )
    if request.state == "UNTRACKED":  # to conntrack it is the first, and TCP does not begin with an answer
        state = "INVALID" if request.protocol == "tcp" else "NEW"
        return arrive(rules, replace(reply, state=state, connection_mark=None), routing)

    def restore_destination(packet: Packet) -> Packet:
        return packet if packet.state == "UNTRACKED" else replace(packet, destination=sent_packet.source)

    def restore_source(packet: Packet) -> Packet:
        return (
            packet
            if packet.state == "UNTRACKED"
            else replace(packet, source=sent_packet.destination, source_port=sent_packet.port)
        )

    def simulate(guessed: Guessed) -> Passage:
        passage = Hook(rules, reply, "prerouting", routing, guessed).through(restore_destination)
        if passage.end != "accept":
            return passage
        return passage.then(Hook(rules, passage.packet, "input", routing, guessed).through(restore_source))

    return _in_doubt(simulate)


@dataclass(frozen=True)
class Shadow:
    """A rule that would rewrite the destination, and the rule ``by`` that took the packet before."""

    rule: Rule
    by: Rule


def shadowed(rules: RuleSet, packet: Packet, routing: Routing) -> Shadow | None:
    """Return what keeps a packet sent from here from a rule that would rewrite its destination, if there is one.

    Only the last rules that the packet met are tried: a guest can have it meet thousands.
    """
    passage = send(rules, packet, routing)
    taken = [step.rule for step in passage.steps if step.hook == "output" and _ends(step.rule, rules)]
    for by in reversed(taken[-_MOST_TRIED:]):
        without = send(_without(rules, by), packet, routing)
        if without.translation:
            return Shadow(without.translation, by)
    return None


def _ends(rule: Rule, rules: RuleSet) -> bool:
    """Tell whether a rule ends a packet's passage through the nat chains."""
    chain = rules.chain(rule.table, rule.chain)
    nat = rule.table.endswith(" nat") or (chain is not None and chain.kind == "nat")
    return nat and rule.target.kind in ("return", "accept", "goto", *DESTINATION)


def _without(rules: RuleSet, excluded: Rule) -> RuleSet:
    chains = (
        replace(chain, rules=tuple(rule for rule in chain.rules if rule is not excluded)) for chain in rules.chains
    )
    return replace(rules, chains=tuple(chains))
