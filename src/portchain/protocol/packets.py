"""Messages between two processes: small JSON objects, each one packet of a SOCK_SEQPACKET unix socket."""

from __future__ import annotations

import array
import json
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

MAX_PACKET = 16384  # bytes
MAX_TEXT = 1024  # characters in one field
MAX_DESCRIPTORS = 253  # with one packet: the kernel's limit


class ProtocolError(Exception):
    """The other side broke the protocol; the connection must be closed."""


@dataclass(frozen=True)
class Message:
    """What one packet says: the fields of a subclass are of type int, from 0 up, or str."""


@dataclass(frozen=True)
class Hello(Message):
    """The first message of each side."""

    version: int


def encode(message: Message) -> bytes:
    """Encode a message as one packet."""
    values = {name: value[:MAX_TEXT] if isinstance(value, str) else value for name, value in asdict(message).items()}
    return json.dumps({"type": type(message).__name__.lower(), **values}).encode()


def decode(data: bytes, kinds: tuple[type[Message], ...]) -> Message:
    """Decode one packet into a message of one of ``kinds``; raise ProtocolError naming what is wrong."""
    if len(data) > MAX_PACKET:
        raise ProtocolError(f"message longer than {MAX_PACKET} bytes")
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        raise ProtocolError("message is not JSON") from None
    if not isinstance(values, dict):
        raise ProtocolError("message is not an object")
    name = values.pop("type", None)
    kind = next((kind for kind in kinds if kind.__name__.lower() == name), None)
    if kind is None:
        raise ProtocolError(f"unexpected message {str(name)[:40]!r}")
    types = {field.name: str(field.type) for field in fields(kind)}
    if values.keys() != types.keys():
        raise ProtocolError(f"{name}: fields are {', '.join(types)}")
    checked: dict[str, Any] = {
        field: _check_value(values[field], type_name, f"{name}.{field}") for field, type_name in types.items()
    }
    return kind(**checked)


def _check_value(value: object, kind: str, name: str) -> str | int:
    """Return ``value``, a string without unprintable characters; raise ProtocolError if it is not of ``kind``."""
    if kind == "int" and type(value) is int and 0 <= value < 1 << 63:
        return value
    if kind == "str" and isinstance(value, str) and len(value) <= MAX_TEXT:
        return "".join(char if char.isprintable() else "?" for char in value)
    raise ProtocolError(f"{name}: not {'a natural number' if kind == 'int' else 'a short string'}")


class Receiver:
    """Decodes what the other side sends: a hello of the same version first, then messages of ``kinds``."""

    def __init__(self, kinds: tuple[type[Message], ...], version: int) -> None:
        self.greeted = False
        self._kinds = kinds
        self._version = version

    def receive(self, data: bytes) -> Message:
        """Decode the message in one packet; raise ProtocolError."""
        message = decode(data, self._kinds if self.greeted else (Hello,))
        if isinstance(message, Hello) and message.version != self._version:
            raise ProtocolError(
                f"the other side speaks version {message.version}, this side {self._version}: "
                "install the same portchain in host and guest"
            )
        self.greeted = True
        return message


class PacketConnection:
    """One end of a connection: a connected SOCK_SEQPACKET socket, which may be blocking or not.

    ``discard`` closes descriptors that came with what is no message.
    """

    def __init__(
        self,
        sock: socket.socket,
        receiver: Receiver,
        max_descriptors: int = 0,
        discard: Callable[[Sequence[int]], None] | None = None,
    ) -> None:
        self.sock = sock
        self.receiver = receiver
        self._max_descriptors = max_descriptors
        self._discard = discard or close_all

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send one message and the descriptors that go with it; raise OSError."""
        socket.send_fds(self.sock, [encode(message)], descriptors)

    def receive(self) -> tuple[Message, list[int]]:
        """Receive one message and its descriptors, which the caller must close.

        Raise EOFError if the other side is gone, ProtocolError, OSError. The kernel closes descriptors beyond
        ``max_descriptors``.
        """
        received = array.array("i")
        data, control, flags, _ = self.sock.recvmsg(
            MAX_PACKET, socket.CMSG_LEN(self._max_descriptors * received.itemsize), socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, value in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                received.frombytes(value[: len(value) - len(value) % received.itemsize])
        descriptors = received.tolist()
        try:
            if not data:
                raise EOFError
            if flags & socket.MSG_TRUNC:
                raise ProtocolError(f"message longer than {MAX_PACKET} bytes")
            if flags & socket.MSG_CTRUNC:
                raise ProtocolError("unexpected descriptors, or no room for them")
            return self.receiver.receive(data), descriptors
        except (EOFError, ProtocolError):
            self._discard(descriptors)
            raise


def close_all(descriptors: Sequence[int]) -> None:
    """Close received descriptors of sockets or files."""
    for descriptor in descriptors:
        socket.close(descriptor)
