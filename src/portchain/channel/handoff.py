"""The handoff channel: the host passes descriptors of forwards to the guest, the guest reports on them.

One message a packet of a SOCK_SEQPACKET unix socket, each a small JSON object. A forward's id is its listen endpoint,
as text, so that both sides name it alike whichever of them was restarted.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass, fields
from typing import Any

VERSION = 2
MAX_MESSAGE = 16384  # bytes
MAX_TEXT = 1024  # characters in one field


class ProtocolError(Exception):
    """The other side broke the protocol; the connection is of no further use."""


@dataclass(frozen=True)
class Hello:
    """Each side's first message."""

    version: int = VERSION


@dataclass(frozen=True)
class Listen:
    """Host to guest, with one descriptor: serve it and dial ``target``. Takes the place of an earlier one.

    The descriptor is a listener to accept on; for a udp target the socket that `udp_listener` speaks of.
    ``proxy_protocol`` is the version in which the target is told of each client, or empty.
    """

    id: str
    target: str
    proxy_protocol: str = ""


@dataclass(frozen=True)
class Close:
    """Host to guest: the forward is gone, and its connections with it."""

    id: str


@dataclass(frozen=True)
class Listening:
    """Guest to host: connections are being accepted."""

    id: str


@dataclass(frozen=True)
class Failed:
    """Guest to host: the forward cannot be served."""

    id: str
    error: str


@dataclass(frozen=True)
class Counters:
    """Guest to host: what was added since the last report, ``active`` apart: that many connections are open now.

    ``received`` bytes went from client to target, ``sent`` bytes back, ``dropped`` datagrams neither way; ``error`` is
    the last one, or empty.
    """

    id: str
    connections: int
    active: int
    received: int
    sent: int
    dropped: int
    error: str


Message = Hello | Listen | Close | Listening | Failed | Counters
FROM_HOST: tuple[type[Message], ...] = (Listen, Close)
FROM_GUEST: tuple[type[Message], ...] = (Listening, Failed, Counters)


def encode(message: Message) -> bytes:
    """One packet."""
    values = {k: v[:MAX_TEXT] if isinstance(v, str) else v for k, v in asdict(message).items()}
    return json.dumps({"type": type(message).__name__.lower(), **values}).encode()


def decode(data: bytes, kinds: tuple[type[Message], ...]) -> Message:
    """Read one packet holding one of ``kinds``; raise ProtocolError naming what is wrong."""
    if len(data) > MAX_MESSAGE:
        raise ProtocolError(f"message longer than {MAX_MESSAGE} bytes")
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        raise ProtocolError("message is not JSON") from None
    if not isinstance(values, dict):
        raise ProtocolError("message is not an object")
    name = values.pop("type", None)
    kind = next((k for k in kinds if k.__name__.lower() == name), None)
    if kind is None:
        raise ProtocolError(f"unexpected message {str(name)[:40]!r}")
    if values.keys() != {f.name for f in fields(kind)}:
        raise ProtocolError(f"{name}: fields are {', '.join(f.name for f in fields(kind))}")
    checked: dict[str, Any] = {f.name: _checked(values[f.name], str(f.type), f"{name}.{f.name}") for f in fields(kind)}
    return kind(**checked)


def _checked(value: object, kind: str, name: str) -> str | int:
    if kind == "int" and type(value) is int and 0 <= value < 1 << 63:
        return value
    if kind == "str" and isinstance(value, str) and len(value) <= MAX_TEXT:
        return "".join(c if c.isprintable() else "?" for c in value)
    raise ProtocolError(f"{name}: not {'a natural number' if kind == 'int' else 'a short string'}")


class Receiver:
    """What the other side may say: a hello of our version first, then messages of ``kinds``."""

    def __init__(self, kinds: tuple[type[Message], ...]) -> None:
        self.greeted = False
        self._kinds = kinds

    def receive(self, data: bytes) -> Message:
        """The message in one packet; raise ProtocolError."""
        message = decode(data, self._kinds if self.greeted else (Hello,))
        if isinstance(message, Hello) and message.version != VERSION:
            raise ProtocolError(
                f"the other side speaks version {message.version} of the channel, this side {VERSION}: "
                "install the same portchain in host and guest"
            )
        self.greeted = True
        return message


class Connection:
    """One end of the channel on a connected SOCK_SEQPACKET socket; its blocking mode is the socket's own."""

    def __init__(self, sock: socket.socket, kinds: tuple[type[Message], ...], max_descriptors: int = 0) -> None:
        self.sock = sock
        self.receiver = Receiver(kinds)
        self._max_descriptors = max_descriptors

    def send(self, message: Message, descriptor: int | None = None) -> None:
        """Send one message and the descriptor that goes with it; raise OSError."""
        socket.send_fds(self.sock, [encode(message)], [] if descriptor is None else [descriptor])

    def receive(self) -> tuple[Message, list[int]]:
        """Receive one message and its descriptors, the caller's to close.

        Raise EOFError when the other side is gone, ProtocolError, OSError. The kernel closes descriptors beyond what
        this end takes.
        """
        data, descriptors, flags, _ = socket.recv_fds(
            self.sock, MAX_MESSAGE, self._max_descriptors, socket.MSG_CMSG_CLOEXEC
        )
        try:
            if not data:
                raise EOFError
            if flags & socket.MSG_TRUNC:
                raise ProtocolError(f"message longer than {MAX_MESSAGE} bytes")
            if flags & socket.MSG_CTRUNC:
                raise ProtocolError("unexpected descriptors, or no room for them")
            return self.receiver.receive(data), descriptors
        except (EOFError, ProtocolError):
            _close_all(descriptors)
            raise


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        socket.close(descriptor)
