"""Collect evidence from a machine, each hop where it is."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...host import guests
from ...host.docker_api.records import RECORDS_FILE, Records
from ...http import blocking_client
from ...linux import service_manager
from ...net import listening_sockets
from ...ports.conflicts import clash
from ...ports.forward import Endpoint
from ..model import Container, Forwarder, Guest, Host, HostForward, Listener, Machine, Process, WantedPublication
from ..parse.guest_evidence import EvidenceError, parse_guest, parse_untrusted, with_container_details
from ..query import Query

CONTROL_SECONDS = 2.0
EVIDENCE_SECONDS = 15.0
MAX_ANSWER = 64 << 20  # bytes
_INTERPRETERS = ("python", "bash", "sh", "perl")

# The ids of the containers to be looked into, given what was seen so far.
Choose = Callable[[Machine], Collection[str]]


def all_containers(machine: Machine) -> Collection[str]:
    """Return the ids of all containers."""
    return [container.id for container in machine.guest.containers] if machine.guest else []


def containers_behind(query: Query) -> Choose:
    """Return a choice of the containers that a chain of ``query`` may lead to; of all where there are none."""

    def choose(machine: Machine) -> Collection[str]:
        forwards = [container for container in machine.published() if query.asks_for(container.listen)]
        containers = machine.guest.containers if machine.guest else ()
        asking = {
            container.id
            for container in containers
            if any(_wants(query, publication.host) for publication in container.wanted)
        }
        serving = {container.id for container in containers for forward in forwards if _serves(container, forward)}
        if not serving and not asking:
            return all_containers(machine)
        return serving | asking

    return choose


def _wants(query: Query, endpoint: Endpoint | None) -> bool:
    return endpoint is not None and endpoint.port == query.port


def _serves(container: Container, forward: HostForward) -> bool:
    target = forward.target
    at_target = any(
        (endpoint.protocol, endpoint.port) == (target.protocol, target.port) for endpoint, _ in container.bound
    )
    return forward.owner == container.name or at_target or container.has_address(target.address)


class Session:
    """A connection to the guest's evidence service, made when it is first needed; a context manager.

    An answer has to come within ``seconds`` and to have at most ``max_answer`` bytes.
    """

    def __init__(self, name: str, seconds: float = EVIDENCE_SECONDS, max_answer: int = MAX_ANSWER) -> None:
        self._name = name
        self._seconds = seconds
        self._max_answer = max_answer
        self._sock: socket.socket | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request makes a new one."""
        if self._sock:
            self._sock.close()
            self._sock = None

    def ask(self, action: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and return the answer; raise EvidenceError."""
        self._send(action, **arguments)
        return self._answer()

    def _send(self, action: str, **arguments: Any) -> None:
        try:
            if self._sock and _readable(self._sock):  # nothing was asked: it was closed
                self.close()
            self._sock = self._sock or self._connect()
            self._sock.settimeout(self._seconds)
            self._sock.sendall(json.dumps({"do": action, **arguments}).encode() + b"\n")
        except OSError as error:
            raise self._no_answer(error) from None

    def _answer(self) -> dict[str, Any]:
        try:
            if self._sock is None:
                raise OSError("it was not asked")
            answer = json.loads(_line(self._sock, time.monotonic() + self._seconds, self._max_answer))
        except (OSError, ValueError, RecursionError) as error:
            raise self._no_answer(error) from None
        if not isinstance(answer, dict) or "error" in answer:
            raise EvidenceError(str(answer["error"] if isinstance(answer, dict) else answer)[:300])
        return answer

    def _no_answer(self, error: Exception) -> EvidenceError:
        """Close the connection and return the error to raise."""
        self.close()
        reason = str(error) or type(error).__name__
        return EvidenceError(
            f"guest {self._name}: it does not tell of its network ({reason}); portchain status --guest {self._name}"
        )

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(self._seconds)
            sock.connect(str(service_manager.RUN / self._name / "evidence.sock"))
        except OSError:
            sock.close()
            raise
        return sock

    def collect(self, ports: Collection[int] = (), choose: Choose = all_containers) -> Machine:
        """Collect the machine's state now, with ``ports`` of the host besides those that are forwarded.

        ``choose`` says which containers to read from inside.
        """
        if (state := guests.status(self._name).state) != "running":
            self.close()
            return Machine(collect_host(self._name, ports), None, f"guest {self._name} is {state}")
        try:
            self._send("look")
        except EvidenceError as error:
            return Machine(collect_host(self._name, ports), None, str(error))
        host_side = collect_host(self._name, ports)  # while the guest is looking
        if reason := _no_way_in(host_side):
            self.close()
            return Machine(host_side, None, reason)
        try:
            guest = _with_publications(
                parse_untrusted(parse_guest, self._answer(), "network"),
                Records(service_manager.STATE / self._name / RECORDS_FILE),
            )
        except EvidenceError as error:
            return Machine(host_side, None, str(error))
        return Machine(host_side, self._with_details(guest, choose(Machine(host_side, guest))))

    def _with_details(self, guest: Guest, containers: Collection[str]) -> Guest:
        """Add what the guest reads inside the chosen containers."""
        if not containers:
            return guest
        try:
            answer = self.ask("inside", containers=list(containers))
            return parse_untrusted(lambda details: with_container_details(guest, details), answer, "containers")
        except EvidenceError as error:
            return replace(guest, problems=(*guest.problems, str(error)))


def _no_way_in(host_side: Host) -> str:
    """Return why nothing can be asked of a guest that runs, for all its sockets are forwards; empty if it can."""
    forwarder = host_side.forwarder
    if forwarder and not forwarder.relay_pid:
        return f"host: the relay of guest {host_side.guest} is not connected to the forwarder"
    if forwarder and not forwarder.channel_pid:
        return f"guest {host_side.guest}: vpnkit-forwarder is not connected to the host"
    return ""


def _line(sock: socket.socket, deadline: float, most: int) -> bytes:
    """Return all bytes up to the end of a line, which has to be the last; raise OSError."""
    received = bytearray()
    while not received.endswith(b"\n"):
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        data = sock.recv(1 << 18)
        if not data:
            raise OSError("the connection was closed")
        received += data
        if len(received) > most:
            raise OSError("it tells too much")
    return bytes(received)


def _readable(sock: socket.socket) -> bool:
    """Tell whether there is something to read; if nothing was asked, that is the end of the connection."""
    return bool(select.select([sock], [], [], 0)[0])


def collect(name: str, ports: Collection[int] = (), choose: Choose = all_containers) -> Machine:
    """Collect the state of guest ``name`` and its host once."""
    with Session(name) as session:
        return session.collect(ports, choose)


def _with_publications(guest: Guest, records: Records) -> Guest:
    """Add to the guest's containers what clients had them publish, which the host keeps."""

    def publications(container_id: str) -> tuple[WantedPublication, ...]:
        published = records.get(container_id).published
        return tuple(WantedPublication(row.container, row.protocol, row.explicit, row.guest) for row in published)

    containers = tuple(replace(container, wanted=publications(container.id)) for container in guest.containers)
    return replace(guest, containers=containers)


def collect_host(name: str, ports: Collection[int] = ()) -> Host:
    """Collect the host's side of a guest."""
    state = guests.status(name).state
    control = str(service_manager.RUN / name / "control.sock")
    error, forwarder = "", None
    try:
        status = blocking_client.get_json(control, "/status", CONTROL_SECONDS)
        rows = blocking_client.get_json(control, "/forwards", CONTROL_SECONDS)
        forwarder = _forwarder(status, rows)
    except (OSError, ValueError, KeyError, TypeError) as failure:
        error = f"{control}: {failure}"
    endpoints = [Endpoint(protocol, "", port) for port in ports for protocol in ("tcp", "udp")]
    return Host(name, state, forwarder, error, _listeners(forwarder, endpoints))


def _forwarder(status: dict[str, Any], rows: list[dict[str, Any]]) -> Forwarder:
    return Forwarder(
        pid=int(status["pid"]),
        relay_pid=int(status["relay_pid"]),
        channel_pid=int((status.get("channel") or {}).get("pid", 0)),
        started=float(status["started"]),
        binds=tuple(status.get("bind", ())),
        forwards=tuple(_forward(row) for row in rows),
    )


def _forward(row: dict[str, Any]) -> HostForward:
    texts = ("origin", "owner", "state", "proxy_protocol", "error")
    numbers = ("connections", "active", "received", "sent", "dropped")
    fields: dict[str, Any] = {name: row[name] for name in (*texts, *numbers)}
    listen, target = (Endpoint.parse(row[name], row["protocol"]) for name in ("listen", "target"))
    return HostForward(listen, target, **fields)


def _listeners(forwarder: Forwarder | None, asked: Collection[Endpoint]) -> tuple[Listener, ...]:
    """Return the host's sockets at the forwards and at ``asked``.

    Their processes are looked up at ``asked`` only, or for all sockets if it is empty.
    """
    forwards = forwarder.forwards if forwarder else ()
    ports = {(endpoint.protocol, endpoint.port) for endpoint in (*asked, *(forward.listen for forward in forwards))}
    sockets = {
        inode: address
        for inode, address in listening_sockets.list_sockets().items()
        if (address.protocol, address.port) in ports
    }
    inspected = {
        inode for inode, address in sockets.items() if not asked or any(clash(address, endpoint) for endpoint in asked)
    }
    own_pids = (forwarder.pid, forwarder.relay_pid) if forwarder else ()
    holders = listening_sockets.find_processes(inspected, pids=own_pids)
    holders |= listening_sockets.find_processes(
        inspected - holders.keys()
    )  # which takes long: all processes are gone through
    return tuple(
        Listener(address, tuple(_named(endpoint, forwarder) for endpoint in holders.get(inode, ())), inode)
        for inode, address in sorted(sockets.items())
    )


def _named(process: listening_sockets.SocketHolder, forwarder: Forwarder | None) -> Process:
    """Return a process by the name of its program, or of its script if the program is an interpreter."""
    if forwarder and process.pid in (forwarder.pid, forwarder.relay_pid):
        return Process(process.pid, "forwarder" if process.pid == forwarder.pid else "relay")
    program, *arguments = [*process.command.split(), "?"]
    script = next(iter(arguments), "")
    interpreted = Path(program).name.startswith(_INTERPRETERS) and script.startswith("/")
    return Process(process.pid, Path(script if interpreted else program).name)
