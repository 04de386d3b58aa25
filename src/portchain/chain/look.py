"""Looking at a machine: each hop is read where it is."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import daemon, unix_http
from ..guest import manage
from ..mapping.conflict import clash
from ..mapping.forward import Endpoint
from ..preflight import sockets
from .model import Container, Forwarder, Guest, Host, HostForward, Listener, Machine, Process
from .query import Query
from .read_guest import EvidenceError, guarded, guest, inside

CONTROL_SECONDS = 2.0
EVIDENCE_SECONDS = 15.0
MAX_ANSWER = 64 << 20  # bytes
_INTERPRETERS = ("python", "bash", "sh", "perl")

# The ids of the containers to be looked into, given what was seen so far.
Choose = Callable[[Machine], Collection[str]]


def everything(machine: Machine) -> Collection[str]:
    """All containers."""
    return [one.id for one in machine.guest.containers] if machine.guest else []


def behind(query: Query) -> Choose:
    """The containers that a chain from what is asked about may lead to; where there are none, all."""

    def choose(machine: Machine) -> Collection[str]:
        forwards = [one for one in machine.published() if query.asks_for(one.listen)]
        containers = machine.guest.containers if machine.guest else ()
        wanted = {one.id for one in containers if any(_wants(query, p.host) for p in one.wanted)}
        found = {one.id for one in containers for forward in forwards if _serves(one, forward)}
        if not found and not wanted:
            return everything(machine)
        return found | wanted

    return choose


def _wants(query: Query, host: Endpoint | None) -> bool:
    return host is not None and host.port == query.port


def _serves(container: Container, forward: HostForward) -> bool:
    target = forward.target
    at_target = any((end.protocol, end.port) == (target.protocol, target.port) for end, _ in container.bound)
    return forward.owner == container.name or at_target or container.has_address(target.address)


class Session:
    """A connection to the guest's evidence, made when it is first needed; a context."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._sock: socket.socket | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End it; the next request makes a new one."""
        if self._sock:
            self._sock.close()
            self._sock = None

    def ask(self, what: str, **words: Any) -> dict[str, Any]:
        """The answer to one request; raise EvidenceError."""
        self._send(what, **words)
        return self._answer()

    def _send(self, what: str, **words: Any) -> None:
        try:
            if self._sock and _readable(self._sock):  # nothing was asked: it was closed
                self.close()
            self._sock = self._sock or self._connect()
            self._sock.settimeout(EVIDENCE_SECONDS)
            self._sock.sendall(json.dumps({"do": what, **words}).encode() + b"\n")
        except OSError as error:
            raise self._silent(error) from None

    def _answer(self) -> dict[str, Any]:
        try:
            if self._sock is None:
                raise OSError("it was not asked")
            found = json.loads(_line(self._sock))
        except (OSError, ValueError, RecursionError) as error:
            raise self._silent(error) from None
        if not isinstance(found, dict) or "error" in found:
            raise EvidenceError(str(found["error"] if isinstance(found, dict) else found)[:300])
        return found

    def _silent(self, error: Exception) -> EvidenceError:
        """End the connection; the next request makes a new one."""
        self.close()
        reason = str(error) or type(error).__name__
        return EvidenceError(
            f"guest {self._name}: it does not tell of its network ({reason}); portchain status --guest {self._name}"
        )

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(EVIDENCE_SECONDS)
            sock.connect(str(daemon.RUN / self._name / "evidence.sock"))
        except OSError:
            sock.close()
            raise
        return sock

    def look(self, ports: Collection[int] = (), choose: Choose = everything) -> Machine:
        """The machine now, with ``ports`` of the host besides those that are forwarded, and what `choose` chooses."""
        if (state := manage.status(self._name).state) != "running":
            self.close()
            return Machine(host(self._name, ports), None, f"guest {self._name} is {state}")
        try:
            self._send("look")
        except EvidenceError as error:
            return Machine(host(self._name, ports), None, str(error))
        outside = host(self._name, ports)  # while the guest is looking
        if outside.forwarder and not outside.forwarder.channel_pid:
            self.close()
            return Machine(outside, None, f"guest {self._name}: vpnkit-forwarder is not connected to the host")
        try:
            seen = guarded(guest, self._answer(), "network")
        except EvidenceError as error:
            return Machine(outside, None, str(error))
        return Machine(outside, self._looked_into(seen, choose(Machine(outside, seen))))

    def _looked_into(self, seen: Guest, chosen: Collection[str]) -> Guest:
        if not chosen:
            return seen
        try:
            told = self.ask("inside", containers=list(chosen))
            return guarded(lambda one: inside(seen, one), told, "containers")
        except EvidenceError as error:
            return replace(seen, problems=(*seen.problems, str(error)))


def _line(sock: socket.socket) -> bytes:
    """All that comes until the end of a line, of which nothing is to come after it; raise OSError."""
    found = bytearray()
    end = time.monotonic() + EVIDENCE_SECONDS
    while not found.endswith(b"\n"):
        sock.settimeout(max(0.001, end - time.monotonic()))
        data = sock.recv(1 << 18)
        if not data:
            raise OSError("the connection was closed")
        found += data
        if len(found) > MAX_ANSWER:
            raise OSError("it tells too much")
    return bytes(found)


def _readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def look(name: str, ports: Collection[int] = (), choose: Choose = everything) -> Machine:
    """One look at guest ``name`` and its host."""
    with Session(name) as session:
        return session.look(ports, choose)


def host(name: str, ports: Collection[int] = ()) -> Host:
    """The host's side of a guest."""
    state = manage.status(name).state
    control = str(daemon.RUN / name / "control.sock")
    error, forwarder = "", None
    try:
        status = unix_http.get_json(control, "/status", CONTROL_SECONDS)
        rows = unix_http.get_json(control, "/forwards", CONTROL_SECONDS)
        forwarder = _forwarder(status, rows)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        error = f"{control}: {problem}"
    asked = [Endpoint(protocol, "", port) for port in ports for protocol in ("tcp", "udp")]
    return Host(name, state, forwarder, error, _listeners(forwarder, asked))


def _forwarder(status: dict[str, Any], rows: list[dict[str, Any]]) -> Forwarder:
    return Forwarder(
        pid=int(status["pid"]),
        channel_pid=int((status.get("channel") or {}).get("pid", 0)),
        started=float(status["started"]),
        binds=tuple(status.get("bind", ())),
        forwards=tuple(_forward(row) for row in rows),
    )


def _forward(row: dict[str, Any]) -> HostForward:
    words = ("origin", "owner", "state", "proxy_protocol", "error")
    numbers = ("connections", "active", "received", "sent", "dropped")
    rest: dict[str, Any] = {name: row[name] for name in (*words, *numbers)}
    listen, target = (Endpoint.parse(row[name], row["protocol"]) for name in ("listen", "target"))
    return HostForward(listen, target, **rest)


def _listeners(forwarder: Forwarder | None, asked: Collection[Endpoint]) -> tuple[Listener, ...]:
    """The host's sockets at the forwards and at ``asked``; whose they are is looked up at ``asked``, or for all."""
    forwards = forwarder.forwards if forwarder else ()
    ports = {(one.protocol, one.port) for one in (*asked, *(forward.listen for forward in forwards))}
    found = {inode: at for inode, at in sockets.listening().items() if (at.protocol, at.port) in ports}
    at_issue = {inode for inode, at in found.items() if not asked or any(clash(at, one) for one in asked)}
    own = (forwarder.pid, forwarder.channel_pid) if forwarder else ()
    held = sockets.processes(at_issue, pids=own)
    held |= sockets.processes(at_issue - held.keys())  # which takes long: all processes are gone through
    return tuple(
        Listener(at, tuple(_named(one, forwarder) for one in held.get(inode, ())), inode)
        for inode, at in sorted(found.items())
    )


def _named(one: sockets.Process, forwarder: Forwarder | None) -> Process:
    """A process by its program's name, which of an interpreter is that of its script."""
    if forwarder and one.pid == forwarder.pid:
        return Process(one.pid, "forwarder")
    program, *rest = [*one.command.split(), "?"]
    script = next(iter(rest), "")
    interpreted = Path(program).name.startswith(_INTERPRETERS) and script.startswith("/")
    return Process(one.pid, Path(script if interpreted else program).name)
