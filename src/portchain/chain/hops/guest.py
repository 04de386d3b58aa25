"""The guest's hops: the listening socket, the nat rule that leads on, and the rules that may drop what it leads on."""

from __future__ import annotations

from dataclasses import replace

from ...mapping.forward import Endpoint
from ..model import Container, Listener
from ..rules import iptables, walk
from ..rules.hook import Passage
from ..rules.model import Packet, Rule
from .container import not_running
from .way import LOOPBACK, Finding, Way, broken, listening, ok, served_by, unknown

# Holds the guest's sockets of published ports without serving them: rules take what comes before it gets there.
_ENGINE = "dockerd"
_MOST_NOTES = 3
_TOOLS = {"ip": "iptables", "ip6": "ip6tables"}


def guest_listener(way: Way) -> Finding | None:
    """The socket in the guest that the forward leads to."""
    target = way.forward.target
    way.container = _owner(way)
    if way.guest is None:
        return unknown("guest-listener", "guest", target.place, f"not looked at: {way.machine.guest_error}")
    if target.protocol == "unix":
        way.arrived = True
        return ok("guest-listener", "guest", target.place, "a unix socket of the guest's", listen=target.place)
    family = 6 if ":" in target.address else 4
    at = replace(target, address=target.address or LOOPBACK[family])
    route = way.space.route(at.address)
    source = route.source if route and route.source else LOOPBACK[family]
    way.packet = Packet(at.protocol, source, at.address, at.port)
    way.passage = walk.send(way.space.rules, way.packet, way.space)
    return _listening(way, at) if way.space.has_address(at.address) else None


def _listening(way: Way, at: Endpoint) -> Finding:
    """What listens at an address of the guest's own; where that is a server, it is the end of the chain."""
    sockets = way.space.listening(at)
    seen = listening("guest-listener", "guest", at, sockets, target=at.place)
    if way.passage and (way.passage.translation or way.passage.unsure_of("dnat", "redirect")):
        return seen
    if way.forward.origin == "container" or _is_engines(sockets):
        return _untranslated(way, seen, sockets)
    if not sockets:
        return _nobody(way, seen)
    way.local = True
    return seen


def _owner(way: Way) -> Container | None:
    """The container that the forward was made for, or that the engine leads its target to."""
    if way.guest is None:
        return None
    if way.forward.origin in ("container", "host-network"):
        return way.guest.container(way.forward.owner)
    target = way.forward.target
    at = [replace(target, address=address) for address in (target.address, "0.0.0.0", "::", "")]
    bound = (one for one in way.guest.containers if any(end in at for end, _ in one.bound))
    return next(bound, way.guest.container_at(target.address) if target.address else None)


def _is_engines(sockets: list[Listener]) -> bool:
    return any(p.command.startswith(_ENGINE) for one in sockets for p in one.processes)


def _untranslated(way: Way, seen: Finding, sockets: list[Listener]) -> Finding:
    """No rule leads on what the engine publishes: said at the nat hop, if there is a listener to get that far."""
    if way.container and (stopped := not_running(way.container, seen)):
        return stopped
    if sockets or (way.here.family == "ip6" and _other_family(way)):
        return seen
    name = way.container.name if way.container else way.forward.owner
    text = f"nobody listens on {way.here.destination}:{way.here.port} in the guest and no nat rule takes it to {name}"
    return broken(seen, "guest-listener-missing", text, f"docker restart {name}")


def _nobody(way: Way, seen: Finding) -> Finding:
    packet, others = way.here, "udp" if way.here.protocol == "tcp" else "tcp"
    at = Endpoint(packet.protocol, packet.destination, packet.port)
    if other := way.space.listening(replace(at, protocol=others)):
        text = f"in the guest only a {others} socket listens on {at.place} ({served_by(other)}), not {at.protocol}"
        return broken(seen, "wrong-protocol", text, f"portchain forward add {others}:… {others}:{at.place}")
    elsewhere = [one for one in way.space.listeners if (one.at.protocol, one.at.port) == (at.protocol, at.port)]
    if any((":" in one.at.address) != (":" in at.address) for one in elsewhere):
        text = f"in the guest {elsewhere[0].at.place} is listened on, and {at.place} is of the other family"
        return broken(seen, "ipv6-half", text, f"lead the forward to {elsewhere[0].at.place}")
    text = f"nobody listens on {at.place} in the guest, where the forward leads"
    return broken(seen, "guest-listener-missing", text, "start the server there, or correct the forward's target")


def nat(way: Way) -> Finding | None:
    """The rule that rewrites the destination."""
    passage = way.passage
    if passage is None:
        return None
    if passage.translation is None:
        led_on = way.local or passage.end != "accept" or not way.space.has_address(way.here.destination)
        if not led_on and (rule := passage.unsure_of("dnat", "redirect")):
            way.arrived = True
            return unknown("nat", "guest", way.goal.place, f"where it leads cannot be told: {rule.text}", to="")
        return None if led_on else _no_rule(way)
    rule, before, way.packet = passage.translation, way.goal, passage.packet
    tracked = _tracked(way, before)
    seen = ok("nat", "guest", way.goal.place, rule.text, **_facts(rule), to=way.goal.place, tracked=tracked)
    owner, name = way.container, way.forward.owner
    if owner and owner.attachments and not owner.has_address(way.goal.address):
        other = way.guest.container_at(way.goal.address) if way.guest else None
        where = f"{way.goal.place}, which is {f'container {other.name}' if other else 'no container'}"
        text = f"a rule takes {before.place} to {where}, before the one for {owner.name}: {rule.text}"
        return broken(seen, "dnat-shadowed", text, _removal(way, rule))
    inside = dict(owner.bound).get(_bound_at(owner, before)) if owner else None
    if inside and inside != way.goal.port:
        text = f"a rule takes {before.place} to port {way.goal.port} of {name}, not to its {inside}: {rule.text}"
        return broken(seen, "dnat-shadowed", text, _removal(way, rule))
    return _from_loopback(way, before, passage, seen) or seen


def _from_loopback(way: Way, before: Endpoint, passage: Passage, seen: Finding) -> Finding | None:
    """What comes from a loopback address and leaves by a bridge: no kernel takes it from a wire unless masqueraded.

    Of ``::1`` not even then: the kernel does not route the answers back to it.
    """
    route = way.space.route(way.goal.address)
    leaves = route and (link := way.space.link_named(route.device)) and link.kind == "bridge" and route.kind != "local"
    if before.address not in LOOPBACK.values() or passage.end != "accept" or not leaves:
        return None
    if before.address == LOOPBACK[6]:
        text = f"a rule takes {before.place} to {way.goal.place}, but what comes from ::1 gets no answer from there"
        return broken(seen, "ipv6-half", text, f"lead the forward to {way.goal.place} itself")
    assert link
    if not link.route_localnet:
        text = f"the guest's kernel sends nothing from {before.address} out by {link.name}: route_localnet is off there"
        remedy = way.shell("sysctl", "-w", f"net.ipv4.conf.{link.name}.route_localnet=1")
        return broken(seen, "route-localnet-off", text, remedy)
    hides = any(step.rule.target.kind in ("masquerade", "snat") for step in passage.steps)
    if hides or passage.unsure_of("masquerade", "snat"):
        return None
    text = f"no nat rule masquerades what leaves for {way.goal.place}: it comes from {before.address}, so it is dropped"
    return broken(seen, "masquerade-missing", text, "portchain engine restart")


def _tracked(way: Way, before: Endpoint) -> int:
    """How many connections conntrack has that the rule translated."""
    flows = way.guest.flows if way.guest else ()
    return sum(flow.destination == before and flow.reply_source == way.goal for flow in flows)


def _bound_at(owner: Container, at: Endpoint) -> Endpoint:
    """The guest's endpoint as the engine names it that takes what comes to ``at``."""
    same = [end for end, _ in owner.bound if (end.protocol, end.port) == (at.protocol, at.port)]
    return next((end for end in same if end.address == at.address), same[0] if same else at)


def _no_rule(way: Way) -> Finding:
    at = way.goal
    name = way.container.name if way.container else way.forward.owner
    seen = ok("nat", "guest", "no rule", "", to="")
    hidden = walk.shadowed(way.space.rules, way.here, way.space)
    if hidden:
        text = f"another rule takes what comes to {at.place}: {hidden.by.text}, before {hidden.rule.text}"
        return broken(seen, "dnat-shadowed", text, _removal(way, hidden.by))
    if way.here.family == "ip6" and _other_family(way):
        text = f"the guest has nat rules for port {at.port} over IPv4 only: nothing leads {at.place} to {name}"
        return broken(seen, "ipv6-half", text, f"lead the forward to 127.0.0.1:{at.port}, or use the host's 127.0.0.1")
    text = f"no nat rule of the guest leads {at.place} to {name}: the engine's socket takes connections, nobody serves"
    return broken(seen, "dnat-missing", text, f"docker restart {name}; if all are gone: portchain engine restart")


def _other_family(way: Way) -> bool:
    """Whether IPv4 would find a rule."""
    packet = replace(way.here, source=LOOPBACK[4], destination=LOOPBACK[4])
    return walk.send(way.space.rules, packet, way.space).translation is not None


def packet_filter(way: Way) -> Finding | None:
    """The rules that let it through, out of the guest and the answer back in."""
    passage = way.passage
    if passage is None:
        return None
    steps = [step.rule for step in passage.steps if step.rule.table.partition(" ")[2] != "nat"]
    seen = ok(
        "filter",
        "guest",
        "packet filter",
        f"no rule drops it; {len(steps)} met" if steps else "no rule meets it",
        met=[_facts(rule) for rule in steps],
    )
    _note(way, passage)
    for line in way.space.rules.unknown[:_MOST_NOTES]:
        way.note(f"guest: of its packet filter this is not understood: {line}")
    if passage.end != "accept":
        return _dropped(way, seen, passage, way.goal.place)
    if way.local:
        way.arrived = True
        return seen
    answer = walk.answer(way.space.rules, passage, way.space)
    _note(way, answer)
    if answer.end != "accept":
        return _dropped(way, seen, answer, f"the answers from {way.goal.place}")
    return seen


def _note(way: Way, passage: Passage) -> None:
    for rule in passage.unsure:
        way.note(f"guest: whether this rule matches, or what it does, cannot be told: {rule.text}")


def _dropped(way: Way, seen: Finding, passage: Passage, what: str) -> Finding:
    said, by = "rejects" if passage.end == "reject" else "drops", passage.by
    assert by
    if not by.text:
        text = f"the policy of {by.table} {by.chain} in the guest {said} {what}"
        return broken(seen, "filter-drop", text, _opening(way, by))
    text = f"a rule in {by.table} {by.chain} {said} {what}: {by.text}"
    return broken(seen, "filter-drop", text, _removal(way, by))


def _opening(way: Way, by: Rule) -> str:
    family, _, table = by.table.partition(" ")
    if by.chain.isupper() and family in _TOOLS:
        return way.shell(_TOOLS[family], "-t", table, "-P", by.chain, "ACCEPT")
    return way.shell("nft", "chain", family, table, by.chain, "{ policy accept; }")


def _removal(way: Way, rule: Rule) -> str:
    family, _, table = rule.table.partition(" ")
    if not rule.text.startswith("-A "):
        handle = rule.text.rpartition("# ")[2].split()
        return way.shell("nft", "delete", "rule", family, table, rule.chain, *handle)
    return way.shell(_TOOLS[family], "-t", table, "-D", *iptables.words(rule.text)[1:])


def _facts(rule: Rule) -> dict[str, str | int]:
    return {
        "table": rule.table,
        "chain": rule.chain,
        "rule": rule.text,
        "packets": rule.packets,
        "bytes": rule.bytes,
    }
