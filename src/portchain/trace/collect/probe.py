"""Send one real connection or datagram, and have the guest capture it on its way."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...ports.forward import Endpoint
from ...ports.syntax import loopback_of
from ..chain import Chain
from ..judge.probed_chain import CapturedTraffic, ProbeClient, parse_capture, with_probe
from ..parse.guest_evidence import parse_untrusted
from .evidence_session import Session

CONNECT_SECONDS = 0.5
ANSWER_SECONDS = 0.3
_DATAGRAM = b"\n"


@dataclass(frozen=True)
class _Watched:
    """An interface to capture on, in the namespace of a guest process (``pid``, 0 for the guest's own), and a port."""

    pid: int
    name: str
    port: int


def probe(session: Session, chain: Chain, address: str = "") -> Chain:
    """Probe a chain, at ``address`` where it listens on all, and return it with the result; raise EvidenceError.

    One that leads to a unix socket is not probed: its packets are on no interface of the guest's.
    """
    if chain.target.startswith("/"):
        return replace(chain, notes=(*chain.notes, f"guest: {chain.target} is a unix socket, so it was not probed"))
    listen = Endpoint.parse(chain.listen, chain.protocol)
    listen = replace(listen, address=address or listen.address)
    interfaces = watched(chain)
    started = session.ask("watch", interfaces=[asdict(interface) for interface in interfaces])
    client = _datagram(listen) if chain.protocol == "udp" else _connection(listen)
    caught = session.ask("caught")
    capture: CapturedTraffic = parse_untrusted(
        lambda answer: parse_capture(answer, str(started["counters"])), caught, "packets"
    )
    return with_probe(chain, client, capture, [interface.name for interface in interfaces])


def watched(chain: Chain) -> list[_Watched]:
    """Return the interfaces that a packet passes, in order.

    These are the bridge and both ends of the veth pair; before them the loopback interface to docker-proxy; and the
    loopback interface alone to a server of the guest's own.
    """
    facts: dict[str, dict[str, Any]] = {hop.kind: hop.facts for hop in chain.hops}
    pid = int(facts.get("container", {}).get("pid", 0))
    veth = facts.get("veth", {})
    port = _port(chain.redirect_target or chain.target)
    interfaces = [
        _Watched(0, name, port) for name in (facts.get("bridge", {}).get("name"), _name(veth, "outer")) if name
    ]
    if pid and (inner := _name(veth, "inner")):
        interfaces.append(_Watched(pid, inner, port))
    loopback = [_Watched(0, "lo", _port(chain.target))]
    return loopback + interfaces if chain.hop("proxy") else interfaces or loopback


def _name(veth: dict[str, Any], end: str) -> str:
    return str(veth.get(end, {}).get("name", ""))


def _port(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2] or 0)


def _client(listen: Endpoint, kind: socket.SocketKind) -> tuple[socket.socket, tuple[str, int]]:
    """Return an unconnected socket and the address to connect to."""
    address = loopback_of(listen.address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.socket(family, kind), (address, listen.port)


def _source(sock: socket.socket) -> str:
    address, port = sock.getsockname()[:2]
    return Endpoint("tcp", address, port).hostport


def _connection(listen: Endpoint) -> ProbeClient:
    """Connect, end our side, and wait for the server's end."""
    sock, address = _client(listen, socket.SOCK_STREAM)
    with sock:
        sock.setblocking(False)
        began = time.time_ns()
        try:
            connected = _connect(sock, address)
            source = _source(sock)
            sock.settimeout(ANSWER_SECONDS)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            answer, size = _answer(sock)
        except TimeoutError:
            return ProbeClient(began, 0, time.time_ns(), "the host's handshake took too long", 0, "")
        except OSError as error:
            return ProbeClient(began, 0, time.time_ns(), error.strerror or str(error), 0, "")
        return ProbeClient(began, connected, time.time_ns(), answer, size, source)


def _connect(sock: socket.socket, address: tuple[str, int]) -> int:
    """Connect and return when that was done, in nanoseconds since the epoch; raise OSError."""
    code = sock.connect_ex(address)
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


def _datagram(listen: Endpoint) -> ProbeClient:
    """Send a datagram of one byte, which a server may answer or not, and wait for a moment."""
    sock, address = _client(listen, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(ANSWER_SECONDS)
        began = time.time_ns()
        try:
            sock.connect(address)
            sock.send(_DATAGRAM)
            sent = time.time_ns()
            source = _source(sock)
            answer, size = "end", len(sock.recv(65536))
        except TimeoutError:
            return ProbeClient(began, sent, time.time_ns(), "silence", 0, source)
        except OSError as error:
            return ProbeClient(began, 0, time.time_ns(), error.strerror or str(error), 0, "")
        return ProbeClient(began, sent, time.time_ns(), answer, size, source)
