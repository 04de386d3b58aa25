"""The guest's hops: the listening socket, the nat rule that leads on, and the packet filter."""

from __future__ import annotations

from dataclasses import replace

from ...ports.forward import Endpoint
from ..model import Container, Listener
from ..parse import iptables
from ..rules import packet_path
from ..rules.filter_rules import Packet, Rule
from ..rules.hook_passage import Passage
from ..unpublished import no_publishing_reason
from . import udp_flows
from .container_hops import not_running
from .findings import LOOPBACK, ChainWalk, Finding, broken, listening, ok, served_by, unknown

# Holds the guest's sockets of published ports without serving them: rules take what comes before it gets there.
_ENGINE = "dockerd"
_MOST_NOTES = 3
_TOOLS = {"ip": "iptables", "ip6": "ip6tables"}


def guest_listener(walk: ChainWalk) -> Finding | None:
    """Judge the socket in the guest that the forward leads to."""
    target = walk.forward.target
    walk.container = _owner(walk)
    if walk.guest is None:
        return unknown("guest-listener", "guest", target.hostport, f"not looked at: {walk.machine.guest_error}")
    if target.protocol == "unix":
        walk.arrived = True
        return ok("guest-listener", "guest", target.hostport, "a unix socket of the guest's", listen=target.hostport)
    family = 6 if ":" in target.address else 4
    at = replace(target, address=target.address or LOOPBACK[family])
    walk.packet = Packet(at.protocol, walk.space.source(at.address), at.address, at.port)
    walk.passage = packet_path.send(walk.space.rules, walk.packet, walk.space)
    return _listening(walk, at) if walk.space.has_address(at.address) else None


def _listening(walk: ChainWalk, at: Endpoint) -> Finding:
    """Judge what listens at an address of the guest's own; if that is a server, the chain ends there."""
    sockets = walk.space.listening(at)
    finding = listening("guest-listener", "guest", at, sockets, target=at.hostport)
    if walk.passage and (walk.passage.translation or walk.passage.unsure_of("dnat", "redirect")):
        return finding
    walk.proxied = next((listener.proxied for listener in sockets if listener.proxied), None)
    if walk.proxied:
        return finding
    if walk.forward.origin == "container" or _is_engines(sockets):
        return _untranslated(walk, finding, sockets)
    if not sockets:
        return _nobody(walk, finding)
    walk.local = True
    return finding


def _owner(walk: ChainWalk) -> Container | None:
    """Return the container that the forward was made for, or that the engine leads its target to."""
    if walk.guest is None:
        return None
    if walk.forward.origin in ("container", "host-network"):
        return walk.guest.container(walk.forward.owner)
    target = walk.forward.target
    endpoints = [replace(target, address=address) for address in (target.address, "0.0.0.0", "::", "")]
    bound = (
        container
        for container in walk.guest.containers
        if any(endpoint in endpoints for endpoint, _ in container.bound)
    )
    return next(bound, walk.guest.container_at(target.address) if target.address else None)


def _is_engines(sockets: list[Listener]) -> bool:
    """Tell whether the engine holds one of the sockets."""
    return any(process.command.startswith(_ENGINE) for listener in sockets for process in listener.processes)


def _untranslated(walk: ChainWalk, finding: Finding, sockets: list[Listener]) -> Finding:
    """Judge a published port that no rule leads on: the nat hop says so, if there is a listener here."""
    if walk.container and (stopped := not_running(walk.container, finding)):
        return stopped
    if sockets or (walk.current.family == "ip6" and _other_family(walk)):
        return finding
    name = walk.container.name if walk.container else walk.forward.owner
    address = f"{walk.current.destination}:{walk.current.port}"
    text = f"nobody listens on {address} in the guest and no nat rule takes it to {name}"
    return broken(finding, "guest-listener-missing", text, f"docker restart {name}")


def _nobody(walk: ChainWalk, finding: Finding) -> Finding:
    """Say why no socket in the guest takes the connection."""
    packet, other_protocol = walk.current, "udp" if walk.current.protocol == "tcp" else "tcp"
    at = Endpoint(packet.protocol, packet.destination, packet.port)
    if sockets := walk.space.listening(replace(at, protocol=other_protocol)):
        holders = served_by(sockets)
        text = f"in the guest only a {other_protocol} socket listens on {at.hostport} ({holders}), not {at.protocol}"
        return broken(
            finding, "wrong-protocol", text, f"portchain forward add {other_protocol}:… {other_protocol}:{at.hostport}"
        )
    elsewhere = [
        listener
        for listener in walk.space.listeners
        if (listener.at.protocol, listener.at.port) == (at.protocol, at.port)
    ]
    if any((":" in listener.at.address) != (":" in at.address) for listener in elsewhere):
        text = f"in the guest {elsewhere[0].at.hostport} is listened on, and {at.hostport} is of the other family"
        return broken(finding, "ipv6-half", text, f"lead the forward to {elsewhere[0].at.hostport}")
    text = f"nobody listens on {at.hostport} in the guest, where the forward leads"
    return broken(finding, "guest-listener-missing", text, "start the server there, or correct the forward's target")


def nat(walk: ChainWalk) -> Finding | None:
    """Judge the rule that rewrites the destination."""
    passage = walk.passage
    if passage is None:
        return None
    unsure_rule = passage.unsure_of("dnat", "redirect")
    if passage.translation is None:
        if walk.local or passage.end != "accept" or not walk.space.has_address(walk.current.destination):
            return None
        if unsure_rule is None:
            return _no_rule(walk)
        walk.arrived = True
        text = f"where it leads cannot be told: {unsure_rule.text}"
        return unknown("nat", "guest", walk.destination.hostport, text, to="")
    rule, original, walk.packet = passage.translation, walk.destination, passage.packet
    target = walk.destination.hostport
    finding = ok("nat", "guest", target, rule.text, **_facts(rule), to=target, tracked=_tracked(walk, original))
    if shadowed := _shadowed(walk, original, rule, finding):
        return shadowed
    stale = None if unsure_rule else udp_flows.elsewhere(walk, finding, original, walk.destination)
    return _from_loopback(walk, original, passage, finding) or stale or finding


def _shadowed(walk: ChainWalk, original: Endpoint, rule: Rule, finding: Finding) -> Finding | None:
    """Return the verdict on a rule that leads elsewhere than the container's own rule would."""
    owner, target = walk.container, walk.destination
    if owner is None:
        return None
    if owner.attachments and not owner.has_address(target.address):
        container = walk.guest.container_at(target.address) if walk.guest else None
        where = f"{target.hostport}, which is {f'container {container.name}' if container else 'no container'}"
        text = f"a rule takes {original.hostport} to {where}, before the one for {owner.name}: {rule.text}"
        return broken(finding, "dnat-shadowed", text, _removal(walk, rule))
    published_port = dict(owner.bound).get(_bound_at(owner, original))
    if published_port and published_port != target.port:
        where = f"port {target.port} of {walk.forward.owner}, not to its {published_port}"
        text = f"a rule takes {original.hostport} to {where}: {rule.text}"
        return broken(finding, "dnat-shadowed", text, _removal(walk, rule))
    return None


def _from_loopback(walk: ChainWalk, original: Endpoint, passage: Passage, finding: Finding) -> Finding | None:
    """Judge what comes from a loopback address and leaves by a bridge: it has to be masqueraded.

    From ``::1`` not even that helps: the kernel does not route the answers back to it.
    """
    route = walk.space.route(walk.destination.address)
    leaves = route and (link := walk.space.link_named(route.device)) and link.kind == "bridge" and route.kind != "local"
    if original.address not in LOOPBACK.values() or passage.end != "accept" or not leaves:
        return None
    if original.address == LOOPBACK[6]:
        target = walk.destination.hostport
        text = f"a rule takes {original.hostport} to {target}, but what comes from ::1 gets no answer from there"
        return broken(finding, "ipv6-half", text, f"lead the forward to {target} itself")
    assert link
    if not link.route_localnet:
        text = (
            f"the guest's kernel sends nothing from {original.address} out by {link.name}: route_localnet is off there"
        )
        remedy = walk.shell("sysctl", "-w", f"net.ipv4.conf.{link.name}.route_localnet=1")
        return broken(finding, "route-localnet-off", text, remedy)
    hides = any(step.rule.target.kind in ("masquerade", "snat") for step in passage.steps)
    if hides or passage.unsure_of("masquerade", "snat"):
        return None
    target = walk.destination.hostport
    text = f"no nat rule masquerades what leaves for {target}: it comes from {original.address}, so it is dropped"
    return broken(finding, "masquerade-missing", text, "portchain engine restart")


def _tracked(walk: ChainWalk, original: Endpoint) -> int:
    """Return how many connections conntrack has that the rule translated."""
    tracked = walk.guest.flows if walk.guest else ()
    return sum(flow.destination == original and flow.reply_source == walk.destination for flow in tracked)


def _bound_at(owner: Container, at: Endpoint) -> Endpoint:
    """Return the guest's endpoint, as the engine names it, that takes what comes to ``at``."""
    same = [endpoint for endpoint, _ in owner.bound if (endpoint.protocol, endpoint.port) == (at.protocol, at.port)]
    return next((endpoint for endpoint in same if endpoint.address == at.address), same[0] if same else at)


def _no_rule(walk: ChainWalk) -> Finding:
    """Say why no rule leads on."""
    at = walk.destination
    name = walk.container.name if walk.container else walk.forward.owner
    finding = ok("nat", "guest", "no rule", "", to="")
    hidden = packet_path.shadowed(walk.space.rules, walk.current, walk.space)
    if hidden:
        text = f"another rule takes what comes to {at.hostport}: {hidden.by.text}, before {hidden.rule.text}"
        return broken(finding, "dnat-shadowed", text, _removal(walk, hidden.by))
    if walk.current.family == "ip6" and _other_family(walk):
        text = f"the guest has nat rules for port {at.port} over IPv4 only: nothing leads {at.hostport} to {name}"
        return broken(
            finding, "ipv6-half", text, f"lead the forward to 127.0.0.1:{at.port}, or use the host's 127.0.0.1"
        )
    text = (
        f"no nat rule of the guest leads {at.hostport} to {name}: the engine's socket takes connections, nobody serves"
    )
    if cause := no_publishing_reason(walk.guest, walk.container) if walk.guest and walk.container else None:
        remedy = f"docker network connect NETWORK {name}; or docker restart {name}, which gives up the port"
        return broken(finding, "network-disconnected", f"{text}, for {cause[0]}", remedy)
    return broken(finding, "dnat-missing", text, f"docker restart {name}; if all are gone: portchain engine restart")


def _other_family(walk: ChainWalk) -> bool:
    """Tell whether a packet over IPv4 would match a nat rule."""
    packet = replace(walk.current, source=LOOPBACK[4], destination=LOOPBACK[4])
    return packet_path.send(walk.space.rules, packet, walk.space).translation is not None


def packet_filter(walk: ChainWalk) -> Finding | None:
    """Judge the rules that let the packet out of the guest and the answer back in."""
    passage = walk.passage
    if passage is None:
        return None
    matched = (step.rule for passed in (walk.to_proxy, passage) if passed for step in passed.steps)
    steps = [rule for rule in matched if rule.table.partition(" ")[2] != "nat"]
    finding = ok(
        "filter",
        "guest",
        "packet filter",
        f"no rule drops it; {len(steps)} met" if steps else "no rule meets it",
        met=[_facts(rule) for rule in steps],
    )
    for line in walk.space.rules.unknown[:_MOST_NOTES]:
        walk.note(f"guest: of its packet filter this is not understood: {line}")
    for passed, address in ((walk.to_proxy, "docker-proxy"), (passage, walk.destination.hostport)):
        if passed:
            _note(walk, passed)
            if passed.end != "accept":
                return _dropped(walk, finding, passed, f"what goes to {address}")
    if walk.local:
        walk.arrived = True
        return finding
    answer = packet_path.answer(walk.space.rules, passage, walk.space)
    _note(walk, answer)
    if answer.end != "accept":
        return _dropped(walk, finding, answer, f"the answers from {walk.destination.hostport}")
    return finding


def _note(walk: ChainWalk, passage: Passage) -> None:
    for rule in passage.unsure:
        walk.note(f"guest: whether this rule matches, or what it does, cannot be told: {rule.text}")


def _dropped(walk: ChainWalk, finding: Finding, passage: Passage, packets: str) -> Finding:
    action, rule = "rejects" if passage.end == "reject" else "drops", passage.by
    assert rule
    if not rule.text:
        text = f"the policy of {rule.table} {rule.chain} in the guest {action} {packets}"
        return broken(finding, "filter-drop", text, _opening(walk, rule))
    text = f"a rule in {rule.table} {rule.chain} {action} {packets}: {rule.text}"
    return broken(finding, "filter-drop", text, _removal(walk, rule))


def _opening(walk: ChainWalk, by: Rule) -> str:
    """Return the command that sets a policy to accept."""
    family, _, table = by.table.partition(" ")
    if by.chain.isupper() and family in _TOOLS:
        return walk.shell(_TOOLS[family], "-t", table, "-P", by.chain, "ACCEPT")
    return walk.shell("nft", "chain", family, table, by.chain, "{ policy accept; }")


def _removal(walk: ChainWalk, rule: Rule) -> str:
    """Return the command that deletes a rule."""
    family, _, table = rule.table.partition(" ")
    if not rule.text.startswith("-A "):
        handle = rule.text.rpartition("# ")[2].split()
        return walk.shell("nft", "delete", "rule", family, table, rule.chain, *handle)
    return walk.shell(_TOOLS[family], "-t", table, "-D", *iptables.words(rule.text)[1:])


def _facts(rule: Rule) -> dict[str, str | int]:
    return {
        "table": rule.table,
        "chain": rule.chain,
        "rule": rule.text,
        "packets": rule.packets,
        "bytes": rule.bytes,
    }
