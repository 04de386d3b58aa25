"""Sends one real connection or datagram, and has the guest watch it pass."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from dataclasses import dataclass, replace
from typing import Any

from ..mapping.forward import Endpoint
from ..mapping.words import loopback_of
from .look import Session
from .probed import Client, Seen, add, read_seen
from .read_guest import guarded
from .trace import Chain

CONNECT_SECONDS = 0.5
ANSWER_SECONDS = 0.3
_DATAGRAM = b"\n"


@dataclass(frozen=True)
class _Watched:
    """An interface, in the namespace of a process of the guest, 0 for its own."""

    pid: int
    name: str


def probe(session: Session, chain: Chain, address: str = "") -> Chain:
    """The chain with what a probe of it showed, sent to ``address`` where it listens on all; raise EvidenceError.

    One that leads to a unix socket is not probed: its packets are on no interface of the guest's.
    """
    if chain.target.startswith("/"):
        return replace(chain, notes=(*chain.notes, f"guest: {chain.target} is a unix socket, so it was not probed"))
    listen = Endpoint.parse(chain.listen, chain.protocol)
    listen = replace(listen, address=address or listen.address)
    places = watched(chain)
    interfaces = [{"pid": one.pid, "name": one.name} for one in places]
    before = session.ask("watch", interfaces=interfaces, port=port(chain))
    client = _datagram(listen) if chain.protocol == "udp" else _connection(listen)
    after = session.ask("caught")
    seen: Seen = guarded(lambda told: read_seen(told, str(before["counters"])), after, "packets")
    return add(chain, client, seen, [one.name for one in places])


def watched(chain: Chain) -> list[_Watched]:
    """The interfaces that a packet passes, in order: bridge, both ends of the veth pair; the loopback for a server of
    the guest's own."""
    facts: dict[str, dict[str, Any]] = {hop.kind: hop.facts for hop in chain.hops}
    pid = int(facts.get("container", {}).get("pid", 0))
    veth = facts.get("veth", {})
    found = [_Watched(0, name) for name in (facts.get("bridge", {}).get("name"), _name(veth, "outer")) if name]
    if pid and (inner := _name(veth, "inner")):
        found.append(_Watched(pid, inner))
    return found or [_Watched(0, "lo")]


def _name(veth: dict[str, Any], end: str) -> str:
    return str(veth.get(end, {}).get("name", ""))


def port(chain: Chain) -> int:
    """The port that the packets go to in the guest, after translation."""
    nat = chain.hop("nat")
    place = nat.facts.get("to") if nat else ""
    return int((place or chain.target).rpartition(":")[2] or 0)


def _client(listen: Endpoint, kind: socket.SocketKind) -> tuple[socket.socket, tuple[str, int]]:
    address = loopback_of(listen.address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.socket(family, kind), (address, listen.port)


def _source(sock: socket.socket) -> str:
    address, port = sock.getsockname()[:2]
    return Endpoint("tcp", address, port).place


def _connection(listen: Endpoint) -> Client:
    """Connect, end our side, and wait for the server's end."""
    sock, place = _client(listen, socket.SOCK_STREAM)
    with sock:
        sock.setblocking(False)
        began = time.time_ns()
        try:
            connected = _connect(sock, place)
            source = _source(sock)
            sock.settimeout(ANSWER_SECONDS)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            answer, size = _answer(sock)
        except TimeoutError:
            return Client(began, 0, time.time_ns(), "the host's handshake took too long", 0, "")
        except OSError as error:
            return Client(began, 0, time.time_ns(), error.strerror or str(error), 0, "")
        return Client(began, connected, time.time_ns(), answer, size, source)


def _connect(sock: socket.socket, place: tuple[str, int]) -> int:
    """The time at which it is connected, most often that at which the call returns; raise OSError."""
    code = sock.connect_ex(place)
    connected = time.time_ns()
    if code not in (0, errno.EINPROGRESS):
        raise OSError(code, os.strerror(code))
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    if code:
        if not poll.poll(CONNECT_SECONDS * 1000):
            raise TimeoutError
        if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, os.strerror(code))
    return connected


def _answer(sock: socket.socket) -> tuple[str, int]:
    size = 0
    try:
        while data := sock.recv(65536):
            size += len(data)
    except TimeoutError:
        return "silence", size
    except ConnectionResetError:
        return "reset", size
    return "end", size


def _datagram(listen: Endpoint) -> Client:
    """Send a datagram of one byte, which a server may answer or not, and wait for a moment."""
    sock, place = _client(listen, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(ANSWER_SECONDS)
        began = time.time_ns()
        try:
            sock.connect(place)
            sock.send(_DATAGRAM)
            sent = time.time_ns()
            source = _source(sock)
            answer, size = "end", len(sock.recv(65536))
        except TimeoutError:
            return Client(began, sent, time.time_ns(), "silence", 0, source)
        except OSError as error:
            return Client(began, 0, time.time_ns(), error.strerror or str(error), 0, "")
        return Client(began, sent, time.time_ns(), answer, size, source)
