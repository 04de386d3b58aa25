"""The host's hops: the listening socket and the forward behind it."""

from __future__ import annotations

from ...ports.conflicts import clash
from ...ports.forward import Endpoint
from ..model import Listener, Machine, format_processes
from .findings import ChainWalk, Finding, broken, ok, processes, served_by

_IN_USE = "address already in use"
# How the relay begins what it says; what the host's kernel said begins otherwise.
_BY_RELAY = "host: "


def host_socket(walk: ChainWalk) -> Finding:
    """Judge the socket that clients connect to."""
    forward = walk.forward
    sockets = listeners(walk.machine, forward.listen)
    facts = {"listen": forward.listen.hostport, "protocol": forward.listen.protocol, "processes": processes(sockets)}
    holders = format_processes(dict.fromkeys(process for listener in sockets for process in listener.processes))
    finding = ok("host-socket", "host", forward.listen.display(protocol=True), served_by(sockets), **facts)
    if forward.state != "failed" or forward.error.startswith(_BY_RELAY):
        return finding
    if _IN_USE in forward.error:
        return port_taken(finding, forward.listen, holders)
    remedy = "put right what the message says, the forwarder tries again each second"
    return broken(finding, "host-port-refused", f"the host did not let the forwarder listen: {forward.error}", remedy)


def port_taken(finding: Finding, listen: Endpoint, holders: str) -> Finding:
    """Return the verdict on a port that another process of the host holds."""
    address = listen.display(protocol=True)
    who = holders or "the process that has it"
    subject = holders or "a process that cannot be seen without root"
    fault = (
        f"{subject} listens on {address} of the host{'' if holders else ', or connects from it'}, so the guest cannot"
    )
    remedy = f"stop {who}, or publish another port; the forwarder takes over once {address} is free"
    return broken(finding, "host-port-taken", fault, remedy)


def listeners(machine: Machine, listen: Endpoint) -> list[Listener]:
    """Return the host's sockets that have an endpoint, or are in its way."""
    return [listener for listener in machine.host.listeners if clash(listener.at, listen)]


def forward(walk: ChainWalk) -> Finding:
    """Judge the forwarder, the relay and its channel into the guest."""
    entry, host = walk.forward, walk.machine.host
    daemon = host.forwarder
    finding = ok(
        "forward",
        "host",
        f"{entry.listen.display(protocol=True)} → {entry.target.hostport}",
        f"connections: {entry.connections} so far, {entry.active} open; by {entry.owner} ({entry.origin})",
        target=str(entry.target),
        owner=entry.owner,
        origin=entry.origin,
        state=entry.state,
        pid=daemon.pid if daemon else 0,
        relay_pid=daemon.relay_pid if daemon else 0,
        channel_pid=daemon.channel_pid if daemon else 0,
        connections=entry.connections,
        active=entry.active,
        received=entry.received,
        sent=entry.sent,
        dropped=entry.dropped,
    )
    if host.guest_state != "running":
        return guest_down(finding, host.guest, host.guest_state)
    if daemon and not daemon.relay_pid:
        return relay_down(finding, host.guest)
    if daemon and not daemon.channel_pid:
        return channel_down(finding, host.guest)
    if entry.state == "failed":
        text = f"the relay does not serve {entry.target}: {entry.error.removeprefix(_BY_RELAY)}"
        remedy = f"correct the target, or have relay and forwarder of one version: portchain up --guest {host.guest}"
        return broken(finding, "forward-refused", text, remedy)
    return finding


def guest_down(finding: Finding, guest: str, state: str) -> Finding:
    """Return the verdict on a guest that does not run."""
    remedy = f"portchain up --guest {guest}"
    if state == "starting":
        remedy = f"wait until it has booted; portchain status --guest {guest}"
    return broken(finding, "guest-down", f"guest {guest} is {state}: clients wait at the host's socket", remedy)


def relay_down(finding: Finding, guest: str) -> Finding:
    """Return the verdict on a guest whose relay is not connected to the forwarder."""
    text = f"the relay of guest {guest} is not connected to the forwarder: clients wait at the host's socket"
    return broken(finding, "relay-down", text, f"it is restarted by itself; if not: portchain up --guest {guest}")


def channel_down(finding: Finding, guest: str) -> Finding:
    """Return the verdict on a guest that lends the relay no sockets."""
    text = f"vpnkit-forwarder of guest {guest} is not connected to the relay: clients wait at the host's socket"
    reboot = f"ansible-playbook playbooks/guest.yml --limit {guest} -e guest_state=restarted"
    return broken(finding, "channel-down", text, f"it is restarted by itself; if not: {reboot}")


def forwarder_down(finding: Finding, machine: Machine) -> Finding:
    """Return the verdict on a forwarder that does not answer."""
    host = machine.host
    text = f"the forwarder of guest {host.guest} does not answer: {host.forwarder_error}"
    return broken(finding, "forwarder-down", text, f"portchain up --guest {host.guest}")
