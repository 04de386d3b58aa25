"""The host's hops: the listening socket and the forward behind it."""

from __future__ import annotations

from ...mapping.conflict import clash
from ...mapping.forward import Endpoint
from ..model import Listener, Machine, names
from .way import Finding, Way, broken, ok, processes, served_by

_IN_USE = "address already in use"
# How the guest's forwarder begins what it says; what the host's kernel said begins otherwise.
_BY_GUEST = "guest: "


def shown(listen: Endpoint) -> str:
    """``*:8080``, ``127.0.0.1:8080``, ``udp *:53``."""
    place = listen.place if listen.address else f"*:{listen.port}"
    return f"udp {place}" if listen.protocol == "udp" else place


def host_socket(way: Way) -> Finding:
    """The socket that clients connect to."""
    forward = way.forward
    sockets = listeners(way.machine, forward.listen)
    facts = {"listen": forward.listen.place, "protocol": forward.listen.protocol, "processes": processes(sockets)}
    holders = names(dict.fromkeys(p for one in sockets for p in one.processes))
    seen = ok("host-socket", "host", shown(forward.listen), served_by(sockets), **facts)
    if forward.state != "failed" or forward.error.startswith(_BY_GUEST):
        return seen
    if _IN_USE in forward.error:
        return port_taken(seen, forward.listen, holders)
    remedy = "put right what the message says, the forwarder tries again each second"
    return broken(seen, "host-port-refused", f"the host did not let the forwarder listen: {forward.error}", remedy)


def port_taken(seen: Finding, listen: Endpoint, holders: str) -> Finding:
    """The verdict on a port that another process of the host has."""
    who = holders or "a process that cannot be seen without root"
    remedy = f"stop {who}, or publish another port; the forwarder takes over once {shown(listen)} is free"
    return broken(seen, "host-port-taken", f"{who} listens on {shown(listen)} of the host, so the guest cannot", remedy)


def listeners(machine: Machine, listen: Endpoint) -> list[Listener]:
    """The host's sockets in the way of, or at, an endpoint."""
    return [one for one in machine.host.listeners if clash(one.at, listen)]


def forward(way: Way) -> Finding:
    """The forwarder and its channel into the guest."""
    one, host = way.forward, way.machine.host
    daemon = host.forwarder
    seen = ok(
        "forward",
        "host",
        f"{shown(one.listen)} → {one.target.place}",
        f"connections: {one.connections} so far, {one.active} open; by {one.owner} ({one.origin})",
        target=str(one.target),
        owner=one.owner,
        origin=one.origin,
        state=one.state,
        pid=daemon.pid if daemon else 0,
        channel_pid=daemon.channel_pid if daemon else 0,
        connections=one.connections,
        active=one.active,
        received=one.received,
        sent=one.sent,
        dropped=one.dropped,
    )
    if host.guest_state != "running":
        return guest_down(seen, host.guest, host.guest_state)
    if daemon and not daemon.channel_pid:
        return channel_down(seen, host.guest)
    if one.state == "failed":
        text = f"the guest does not serve {one.target}: {one.error.removeprefix(_BY_GUEST)}"
        return broken(seen, "forward-refused", text, "correct the target, or install the same portchain on both sides")
    return seen


def guest_down(seen: Finding, guest: str, state: str) -> Finding:
    """The verdict on a guest that does not run."""
    remedy = f"portchain up --guest {guest}"
    if state == "starting":
        remedy = f"wait until it has booted; portchain status --guest {guest}"
    return broken(seen, "guest-down", f"guest {guest} is {state}: clients wait at the host's socket", remedy)


def channel_down(seen: Finding, guest: str) -> Finding:
    """The verdict on a guest whose end of the forwards is away."""
    text = f"vpnkit-forwarder of guest {guest} is not connected: clients wait at the host's socket"
    return broken(seen, "channel-down", text, "it is restarted by itself; if not: portchain down, portchain up")


def forwarder_down(seen: Finding, machine: Machine) -> Finding:
    """The verdict on a forwarder that does not answer."""
    host = machine.host
    text = f"the forwarder of guest {host.guest} does not answer: {host.forwarder_error}"
    return broken(seen, "forwarder-down", text, f"portchain up --guest {host.guest}")
