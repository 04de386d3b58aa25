"""The host's own sockets: listening ones, and those that take datagrams."""

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

from ..mapping.forward import Endpoint
from ..preflight.sockets import holders
from . import socket_filter
from .address import Address, keep_alive, socket_address

BACKLOG = 4096  # clients that wait while the guest is away; the kernel caps it at net.core.somaxconn
DATAGRAM_BUFFER = 1024 * 1024  # bytes each way of a udp socket; the kernel caps it at net.core.{r,w}mem_max
IP_PKTINFO = 8


class BindError(Exception):
    """An endpoint that cannot be bound; the text is Docker's own, and who is in the way.

    A function for ``text`` is called when the text is asked for: finding the process in the way means reading /proc.
    ``code`` is the kernel's reason, 0 if it is our own.
    """

    def __init__(self, text: str | Callable[[], str], code: int = 0) -> None:
        super().__init__(text)
        self.code = code
        self._text = text

    def __str__(self) -> str:
        return self._text if isinstance(self._text, str) else self._text()


def open_listener(endpoint: Endpoint, owner: int) -> socket.socket:
    """Bind and, udp apart, listen; unix sockets belong to uid ``owner`` alone. Raise BindError."""
    if endpoint.protocol == "unix":
        return open_unix_listener(Path(endpoint.address), owner)
    try:
        return _open_inet(endpoint)
    except OSError as error:
        raise BindError(partial(bind_message, endpoint, error), error.errno or 0) from error


def free_port(endpoint: Endpoint) -> Endpoint:
    """A tcp or udp endpoint at the same address whose port is free just now; raise BindError."""
    with open_listener(replace(endpoint, port=0), os.getuid()) as sock:
        return replace(endpoint, port=sock.getsockname()[1])


def close_listener(sock: socket.socket) -> None:
    """Stop listening everywhere, in the guest's copy of the descriptor too, and remove a unix socket's path."""
    path = sock.getsockname() if sock.family == socket.AF_UNIX else None
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
    if path:
        Path(path).unlink(missing_ok=True)


class StreamListener:
    """A listening socket, which the guest is handed itself."""

    dropped = 0

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def descriptor(self) -> int:
        """What the guest is handed."""
        return self._sock.fileno()

    def handed_over(self) -> None:
        """The guest has its own copy."""

    def guest_lost(self) -> None:
        """Clients wait in the backlog."""

    def close(self) -> None:
        """Stop listening."""
        close_listener(self._sock)


def open_unix_listener(path: Path, owner: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """Listen on ``path``, mode 0600; a stale socket there is replaced. Raise BindError."""
    sock = socket.socket(socket.AF_UNIX, kind)
    umask = os.umask(0o177)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
        sock.bind(str(path))
        os.chown(path, owner, -1)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise BindError(bind_message(Endpoint("unix", str(path)), error)) from error
    finally:
        os.umask(umask)
    return sock


def _open_inet(endpoint: Endpoint) -> socket.socket:
    bind = _bind_datagrams if endpoint.protocol == "udp" else _listen
    if endpoint.address:
        family, address = socket_address(endpoint)
        return _bound(bind, family, address, ipv6_only=True)
    try:
        return _bound(bind, socket.AF_INET6, ("::", endpoint.port), ipv6_only=False)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        return _bound(bind, socket.AF_INET, ("0.0.0.0", endpoint.port), ipv6_only=False)


def _bound(
    bind: Callable[[socket.socket, Address], None], family: int, address: Address, ipv6_only: bool
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM if bind is _bind_datagrams else socket.SOCK_STREAM)
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
    # The socket and those it accepts stay in the host's network wherever they are handed: whoever holds one must not be
    # able to connect it to something else there.
    socket_filter.attach(sock, socket_filter.without_answers(), for_good=True)
    sock.listen(BACKLOG)


def _bind_datagrams(sock: socket.socket, address: Address) -> None:
    """Each datagram comes with the local address it was sent to."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAM_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, DATAGRAM_BUFFER)
    sock.setblocking(False)
    sock.bind(address)


def bind_message(endpoint: Endpoint, error: OSError, claim: str = "") -> str:
    """Docker's wording for a host port that cannot be bound, with the way out.

    ``claim`` is who has it, if that is known; otherwise a port in use is looked up in /proc.
    """
    if endpoint.protocol == "unix":
        return f"host: listen unix {endpoint.place}: {error.strerror or error}" + (f": {claim}" if claim else "")
    protocol, shown = endpoint.protocol, replace(endpoint, address=endpoint.address or "0.0.0.0").place
    text = (
        f"Ports are not available: exposing port {protocol.upper()} {shown} -> 0.0.0.0:0: listen {protocol} {shown}: "
        f"bind: {(error.strerror or str(error)).lower()}"
    )
    if claim:
        return f"{text}: {claim}"
    if error.errno == errno.EADDRINUSE:
        held_by = ", ".join(map(str, holders([endpoint])[endpoint])) or "a process that cannot be seen"
        return f"{text}: {held_by} listens there on the host"
    if error.errno == errno.EACCES:
        return (
            f"{text}: below net.ipv4.ip_unprivileged_port_start the forwarder needs CAP_NET_BIND_SERVICE on the host: "
            f"run it as root, or run sysctl net.ipv4.ip_unprivileged_port_start={endpoint.port}"
        )
    return text
