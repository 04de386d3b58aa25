"""Open the host's own sockets: those that listen, and those that receive datagrams."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..ports.forward import Endpoint
from .datagram_clients import DATAGRAM_BUFFER
from .listening_sockets import find_holders
from .socket_address import Address, keep_alive, socket_address

BACKLOG = 4096  # clients that wait for the guest; the kernel caps it at net.core.somaxconn
IP_PKTINFO = 8
_UNSEEN = "a process that cannot be seen listens there on the host, or has a connection from that port"


class BindError(Exception):
    """An endpoint cannot be bound; the text is Docker's own, and names the process that has it.

    ``text`` may be a function, called only when the text is needed, for finding that process means reading /proc.
    ``code`` is the kernel's errno, or 0. ``for_guest`` is what a guest may read: that the endpoint cannot be bound, but
    not which of the host's processes has it; the text itself by default.
    """

    def __init__(self, text: str | Callable[[], str], code: int = 0, for_guest: str = "") -> None:
        super().__init__(text)
        self.code = code
        self._text = text
        self._for_guest = for_guest

    def __str__(self) -> str:
        return self._text if isinstance(self._text, str) else self._text()

    @property
    def for_guest(self) -> str:
        """The text for a client in the guest."""
        return self._for_guest or str(self)


def open_listener(endpoint: Endpoint, owner: int, *, released: bool = False) -> socket.socket:
    """Bind and, unless it is udp, listen; a unix socket belongs to uid ``owner`` alone. Raise BindError.

    With ``released``, another process may still have a copy of a udp socket that `close_listener` was called for.
    """
    if endpoint.protocol == "unix":
        return open_unix_listener(Path(endpoint.address), owner)
    try:
        return _open_inet(endpoint, released)
    except OSError as error:
        text = partial(bind_message, endpoint, error)
        raise BindError(text, error.errno or 0, refusal(endpoint, error)) from error


def close_listener(sock: socket.socket) -> None:
    """Shut down a listening socket, and so the relay's copy of it; close it; remove a unix socket's path.

    A udp socket cannot be shut down: others may bind its endpoint as ``released`` until the relay has closed its copy.
    """
    path = sock.getsockname() if sock.family == socket.AF_UNIX else None
    with contextlib.suppress(OSError):
        if sock.type == socket.SOCK_DGRAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.shutdown(socket.SHUT_RDWR)
    sock.close()
    if path:
        Path(path).unlink(missing_ok=True)


def open_unix_listener(
    path: Path, owner: int, kind: socket.SocketKind = socket.SOCK_STREAM, backlog: int = BACKLOG
) -> socket.socket:
    """Listen on ``path`` with mode 0600, replacing a stale socket; raise BindError."""
    sock = socket.socket(socket.AF_UNIX, kind)
    umask = os.umask(0o177)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
        sock.bind(str(path))
        os.chown(path, owner, -1)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise BindError(bind_message(Endpoint("unix", str(path)), error)) from error
    finally:
        os.umask(umask)
    return sock


def _open_inet(endpoint: Endpoint, released: bool) -> socket.socket:
    bind = partial(_bind_datagrams, released=released) if endpoint.protocol == "udp" else _listen
    kind = socket.SOCK_DGRAM if endpoint.protocol == "udp" else socket.SOCK_STREAM
    if endpoint.address:
        family, address = socket_address(endpoint)
        return _bind(bind, kind, family, address, ipv6_only=True)
    try:
        return _bind(bind, kind, socket.AF_INET6, ("::", endpoint.port), ipv6_only=False)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        return _bind(bind, kind, socket.AF_INET, ("0.0.0.0", endpoint.port), ipv6_only=False)


def _bind(
    bind: Callable[[socket.socket, Address], None],
    kind: socket.SocketKind,
    family: int,
    address: Address,
    ipv6_only: bool,
) -> socket.socket:
    sock = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, ipv6_only)
        bind(sock, address)
    except OSError:
        sock.close()
        raise
    return sock


def _listen(sock: socket.socket, address: Address) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keep_alive(sock)
    sock.bind(address)
    sock.listen(BACKLOG)


def _bind_datagrams(sock: socket.socket, address: Address, *, released: bool) -> None:
    """Bind a udp socket; each datagram comes with the local address it was sent to."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAM_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, DATAGRAM_BUFFER)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, released)
    sock.bind(address)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def bind_message(endpoint: Endpoint, error: OSError, claim: str = "") -> str:
    """Return Docker's own message about a host port that cannot be bound, and what to do.

    ``claim`` says who has the port, if that is known; otherwise the process is looked up in /proc.
    """
    text = refusal(endpoint, error)
    if claim:
        return f"{text}: {claim}"
    if endpoint.protocol == "unix":
        return text
    if error.errno == errno.EADDRINUSE:
        processes = ", ".join(map(str, find_holders([endpoint])[endpoint]))
        return f"{text}: {f'{processes} listens there on the host' if processes else _UNSEEN}"
    if error.errno == errno.EACCES:
        return (
            f"{text}: below net.ipv4.ip_unprivileged_port_start the forwarder needs CAP_NET_BIND_SERVICE on the host: "
            f"run it as root, or run sysctl net.ipv4.ip_unprivileged_port_start={endpoint.port}"
        )
    return text


def refusal(endpoint: Endpoint, error: OSError) -> str:
    """Return the part of Docker's own message that says what cannot be bound, and the kernel's reason."""
    if endpoint.protocol == "unix":
        return f"host: listen unix {endpoint.hostport}: {error.strerror or error}"
    protocol = endpoint.protocol
    address = replace(endpoint, address=endpoint.address or "0.0.0.0").hostport
    return (
        f"Ports are not available: exposing port {protocol.upper()} {address} -> 0.0.0.0:0: "
        f"listen {protocol} {address}: bind: {(error.strerror or str(error)).lower()}"
    )
