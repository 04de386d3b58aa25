"""The handoff channel: the host passes descriptors of forwards to the guest, and the guest reports on them.

Each message is a small JSON object, one packet of a SOCK_SEQPACKET unix socket. A forward's id is its listen endpoint
as text, so that both sides use the same id even after one of them was restarted.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass, fields
from typing import Any

VERSION = 2
MAX_MESSAGE = 16384  # bytes
MAX_TEXT = 1024  # characters in one field


class HandoffError(Exception):
    """The other side broke the protocol; the connection must be closed."""


@dataclass(frozen=True)
class Hello:
    """The first message of each side."""

    version: int = VERSION


@dataclass(frozen=True)
class Listen:
    """Host to guest, with one descriptor: serve it and dial ``target``. Replaces an earlier one with the same id.

    The descriptor is a listener to accept on; for a udp target, it is one end of the socket pair that `udp_listener`
    describes. ``proxy_protocol`` is the version that tells the target about each client, or empty.
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
    """Guest to host: what was added since the last report.

    ``received`` bytes went from client to target, ``sent`` bytes back; ``dropped`` datagrams were lost; ``error`` is
    the last one, or empty. ``active`` is no difference, but how many connections are open now.
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
    """Encode a message as one packet."""
    values = {name: value[:MAX_TEXT] if isinstance(value, str) else value for name, value in asdict(message).items()}
    return json.dumps({"type": type(message).__name__.lower(), **values}).encode()


def decode(data: bytes, kinds: tuple[type[Message], ...]) -> Message:
    """Decode one packet into a message of one of ``kinds``; raise HandoffError naming what is wrong."""
    if len(data) > MAX_MESSAGE:
        raise HandoffError(f"message longer than {MAX_MESSAGE} bytes")
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        raise HandoffError("message is not JSON") from None
    if not isinstance(values, dict):
        raise HandoffError("message is not an object")
    name = values.pop("type", None)
    kind = next((kind for kind in kinds if kind.__name__.lower() == name), None)
    if kind is None:
        raise HandoffError(f"unexpected message {str(name)[:40]!r}")
    types = {field.name: str(field.type) for field in fields(kind)}
    if values.keys() != types.keys():
        raise HandoffError(f"{name}: fields are {', '.join(types)}")
    checked: dict[str, Any] = {
        field: _check_value(values[field], type_name, f"{name}.{field}") for field, type_name in types.items()
    }
    return kind(**checked)


def _check_value(value: object, kind: str, name: str) -> str | int:
    """Return ``value``, a string without unprintable characters; raise HandoffError if it is not of ``kind``."""
    if kind == "int" and type(value) is int and 0 <= value < 1 << 63:
        return value
    if kind == "str" and isinstance(value, str) and len(value) <= MAX_TEXT:
        return "".join(char if char.isprintable() else "?" for char in value)
    raise HandoffError(f"{name}: not {'a natural number' if kind == 'int' else 'a short string'}")


class Receiver:
    """Decodes what the other side sends: a hello of the same version first, then messages of ``kinds``."""

    def __init__(self, kinds: tuple[type[Message], ...]) -> None:
        self.greeted = False
        self._kinds = kinds

    def receive(self, data: bytes) -> Message:
        """Decode the message in one packet; raise HandoffError."""
        message = decode(data, self._kinds if self.greeted else (Hello,))
        if isinstance(message, Hello) and message.version != VERSION:
            raise HandoffError(
                f"the other side speaks version {message.version} of the channel, this side {VERSION}: "
                "install the same portchain in host and guest"
            )
        self.greeted = True
        return message


class HandoffConnection:
    """One end of the channel, on a connected SOCK_SEQPACKET socket, which may be blocking or not."""

    def __init__(self, sock: socket.socket, kinds: tuple[type[Message], ...], max_descriptors: int = 0) -> None:
        self.sock = sock
        self.receiver = Receiver(kinds)
        self._max_descriptors = max_descriptors

    def send(self, message: Message, descriptor: int | None = None) -> None:
        """Send one message and the descriptor that goes with it; raise OSError."""
        socket.send_fds(self.sock, [encode(message)], [] if descriptor is None else [descriptor])

    def receive(self) -> tuple[Message, list[int]]:
        """Receive one message and its descriptors, which the caller must close.

        Raise EOFError if the other side is gone, HandoffError, OSError. The kernel closes descriptors beyond
        ``max_descriptors``.
        """
        data, descriptors, flags, _ = socket.recv_fds(
            self.sock, MAX_MESSAGE, self._max_descriptors, socket.MSG_CMSG_CLOEXEC
        )
        try:
            if not data:
                raise EOFError
            if flags & socket.MSG_TRUNC:
                raise HandoffError(f"message longer than {MAX_MESSAGE} bytes")
            if flags & socket.MSG_CTRUNC:
                raise HandoffError("unexpected descriptors, or no room for them")
            return self.receiver.receive(data), descriptors
        except (EOFError, HandoffError):
            _close_all(descriptors)
            raise


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        socket.close(descriptor)
