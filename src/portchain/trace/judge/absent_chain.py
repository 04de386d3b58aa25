"""Explain why there is no chain at all from a port. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...ports.bind_policy import BindRule, Policy, PolicyError, remedy
from ...ports.forward import Endpoint
from ..chain import Chain, skipped_hops
from ..model import Container, Machine, WantedPublication, format_processes
from ..query import Query
from ..unpublished import is_disconnected, unpublished, unpublished_ports
from . import host_hops
from .container_hops import not_running
from .findings import Finding, broken, ok

MAX_MISSING = 100


def missing(machine: Machine) -> list[Query]:
    """Return what running containers publish and nothing forwards, without what the engine never publishes."""
    forwards = list(machine.published())
    unpublished_names = {publication.container for publication in unpublished(machine.guest)}
    queries_wanted = {
        Query(publication.host.port, publication.host.protocol, publication.host.address)
        for container in (machine.guest.containers if machine.guest else ())
        if container.state == "running" and container.name not in unpublished_names
        for publication in container.wanted
        if publication.host
    }
    queries = [
        query for query in queries_wanted if not any(query.asks_for(publication.listen) for publication in forwards)
    ]
    return sorted(queries, key=lambda publication: (publication.port, publication.protocol, publication.address))[
        :MAX_MISSING
    ]


def absent(machine: Machine, query: Query) -> Chain:
    """Return a chain that ends where it should begin, with the reason."""
    finding = _reason(machine, query)
    host_hops_before = (_host_socket(machine, query).hop,) if finding.hop.kind != "host-socket" else ()
    listen = _listen(query)
    owner = next((container.name for container, _ in _wanting(machine, query)), "")
    return Chain(
        listen.hostport,
        "",
        listen.protocol,
        owner,
        (*host_hops_before, finding.hop, *skipped_hops(finding.hop.kind)),
        finding.verdict,
    )


def _listen(query: Query) -> Endpoint:
    return Endpoint(query.protocol or "tcp", query.address, query.port)


def _host_socket(machine: Machine, query: Query) -> Finding:
    listen = _listen(query)
    holders = format_processes(
        process for listener in host_hops.listeners(machine, listen) for process in listener.processes
    )
    return ok(
        "host-socket", "host", listen.display(protocol=True), f"held by {holders}" if holders else "nobody listens"
    )


def _reason(machine: Machine, query: Query) -> Finding:
    forward = ok("forward", "host", f"{_listen(query).display(protocol=True)} → nowhere", "")
    if machine.host.forwarder is None:
        return host_hops.forwarder_down(forward, machine)
    if machine.host.guest_state != "running":
        return host_hops.guest_down(forward, machine.host.guest, machine.host.guest_state)
    if machine.guest is None and not machine.host.forwarder.relay_pid:
        return host_hops.relay_down(forward, machine.host.guest)
    if machine.guest is None and not machine.host.forwarder.channel_pid:
        return host_hops.channel_down(forward, machine.host.guest)
    return (
        _other_address(machine, query)
        or _wanted(machine, query, forward)
        or _other_protocol(machine, query, forward)
        or _nothing(machine, query, forward)
    )


def _other_address(machine: Machine, query: Query) -> Finding | None:
    """Report a port that is forwarded, but not from the address that was asked about."""
    anywhere = replace(query, address="")
    for forward in machine.published():
        if anywhere.asks_for(forward.listen) and query.address:
            finding, listen = _host_socket(machine, query), forward.listen.display(protocol=True)
            other_family = (":" in forward.listen.address) != (":" in query.address)
            code = "ipv6-half" if other_family else "other-address"
            text = f"the host listens for port {query.port} on {listen}, not on {query.address}"
            remedy = f"connect to {listen}, or publish the port without an address: -p {query.port}:…"
            return broken(finding, code, text, remedy)
    return None


def _other_protocol(machine: Machine, query: Query, finding: Finding) -> Finding | None:
    """Report a port of which only the other protocol is forwarded, or wanted."""
    if not query.protocol:
        return None
    other = "udp" if query.protocol == "tcp" else "tcp"
    other_query = replace(query, protocol=other)
    forwards = [forward.owner for forward in machine.published() if other_query.asks_for(forward.listen)]
    containers = [container.name for container, _ in _wanting(machine, other_query)]
    if not forwards and not containers:
        return None
    owners = ", ".join(forwards or containers)
    text = f"port {query.port} is published by {owners} for {other} only, not for {query.protocol}"
    return broken(finding, "wrong-protocol", text, f"docker run -p {query.port}:…/{query.protocol}")


def _wanting(machine: Machine, query: Query) -> list[tuple[Container, WantedPublication]]:
    """Return the containers, running or not, that publish the port."""
    containers = machine.guest.containers if machine.guest else ()
    return [
        (container, publication)
        for container in containers
        for publication in container.wanted
        if publication.host and query.asks_for(publication.host)
    ]


def _wanted(machine: Machine, query: Query, forward: Finding) -> Finding | None:
    """Report a container that publishes the port, which is not forwarded all the same."""
    wanting = sorted(_wanting(machine, query), key=lambda pair: pair[0].state != "running")
    if not wanting:
        return None
    container, publication = wanting[0]
    return _withheld(machine, container, forward) or _not_forwarded(
        machine, container, publication.host or _listen(query), forward
    )


def _withheld(machine: Machine, container: Container, forward: Finding) -> Finding | None:
    """Report a container whose networks do not allow the engine to publish the port."""
    reason = unpublished_ports(machine.guest, container) if machine.guest else None
    if reason is None:
        return None
    if is_disconnected(container):
        return broken(ok("bridge", "guest", "no network", ""), "network-disconnected", str(reason), reason.remedy)
    return broken(forward, "not-published", str(reason), reason.remedy)


def _not_forwarded(machine: Machine, container: Container, listen: Endpoint, forward: Finding) -> Finding:
    """Say what kept the forwarder from listening for a container."""
    daemon = machine.host.forwarder
    refusal = _refusal(daemon.binds if daemon else (), listen)
    if refusal:
        return broken(forward, "policy-refused", f"container {container.name}: {refusal}", remedy(listen))
    holders = format_processes(
        process for listener in host_hops.listeners(machine, listen) for process in listener.processes
    )
    if holders:
        at = Query(listen.port, listen.protocol, listen.address)
        return host_hops.port_taken(_host_socket(machine, at), listen, holders)
    title = ok(
        "container",
        "container",
        container.name,
        container.status,
        id=container.id,
        name=container.name,
        state=container.state,
    )
    stopped = not_running(container, title)
    if stopped:
        return stopped
    text = (
        f"container {container.name} publishes {listen.display(protocol=True)}, and the forwarder does not know of it"
    )
    return broken(forward, "forward-missing", text, f"docker restart {container.name}")


def _refusal(binds: tuple[str, ...], listen: Endpoint) -> str:
    if not binds:
        return ""
    try:
        Policy(tuple(map(BindRule.parse, binds))).check(listen)
    except PolicyError as error:
        return str(error).partition(";")[0]
    except ValueError:
        return ""
    return ""


def _nothing(machine: Machine, query: Query, finding: Finding) -> Finding:
    """Report that nothing publishes the port, with what listens on it anyway."""
    if machine.guest is None or machine.guest.no_containers_reason:
        text = f"nothing is forwarded from port {query.port}, and the guest did not tell of its containers"
        silence = machine.guest.no_containers_reason if machine.guest else machine.guest_error
        return broken(finding, "nothing-published", f"{text}: {silence}", "portchain status")
    holders = format_processes(
        process for listener in host_hops.listeners(machine, _listen(query)) for process in listener.processes
    )
    text = f"no container publishes port {query.port} and no forward was made by hand"
    if holders:
        text += f"; what answers there is the host's own {holders}"
    return broken(finding, "nothing-published", text, _publish_remedy(machine, machine.guest.containers, query.port))


def _publish_remedy(machine: Machine, containers: Sequence[Container], port: int) -> str:
    """Say where a container's own ``port`` is on the host, or how to publish it."""
    listening = [
        container
        for container in containers
        if container.space and any(socket.at.port == port for socket in container.space.listeners)
    ]
    for container in listening:
        targets = [endpoint.port for endpoint, container_port in container.bound if container_port == port]
        for forward in machine.published():
            if forward.owner == container.name and forward.target.port in targets:
                return f"{container.name}'s port {port} is at {forward.listen.display(protocol=True)} of the host"
    if listening:
        return f"{listening[0].name} listens on it inside, unpublished: docker run -p {port}:{port} …"
    return f"docker run -p {port}:{port} …, or portchain forward add :{port} 127.0.0.1:PORT"
