"""Classic BPF filters that the kernel applies to a socket's packets (Documentation/networking/filter.rst)."""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import NamedTuple

_SO_ATTACH_FILTER = 26
_BYTE, _HALF, _HALF_AFTER_HEADER, _HEADER_LENGTH = 0x30, 0x28, 0x48, 0xB1
_AND, _IS, _HAS, _RETURN = 0x54, 0x15, 0x45, 0x06
_WHOLE_PACKET = 0xFFFFFFFF  # bytes
_TCP, _UDP, _ICMP, _ICMP6 = 6, 17, 1, 58


class _Step(NamedTuple):
    """An instruction, and the labels it jumps to; an empty label is the next instruction."""

    code: int
    operand: int = 0
    yes: str = ""
    no: str = ""
    label: str = ""


def match_port(port: int) -> bytes:
    """Return a filter that passes IP packets of TCP and UDP to or from ``port``, and ICMP."""
    return _assemble(
        _Step(_BYTE, 0),
        _Step(_AND, 0xF0),
        _Step(_IS, 0x60, yes="ipv6"),
        _Step(_IS, 0x40, no="drop"),
        _Step(_BYTE, 9),
        _Step(_IS, _ICMP, yes="take"),
        _Step(_IS, _TCP, yes="ports"),
        _Step(_IS, _UDP, no="drop"),
        _Step(_HALF, 6, label="ports"),
        _Step(_HAS, 0x1FFF, yes="drop"),  # a later fragment has no ports
        _Step(_HEADER_LENGTH, 0),
        _Step(_HALF_AFTER_HEADER, 0),
        _Step(_IS, port, yes="take"),
        _Step(_HALF_AFTER_HEADER, 2),
        _Step(_IS, port, yes="take", no="drop"),
        _Step(_BYTE, 6, label="ipv6"),
        _Step(_IS, _ICMP6, yes="take"),
        _Step(_IS, _TCP, yes="ports6"),
        _Step(_IS, _UDP, no="drop"),
        _Step(_HALF, 40, label="ports6"),
        _Step(_IS, port, yes="take"),
        _Step(_HALF, 42),
        _Step(_IS, port, yes="take", no="drop"),
        _Step(_RETURN, _WHOLE_PACKET, label="take"),
        _Step(_RETURN, 0, label="drop"),
    )


def _assemble(*steps: _Step) -> bytes:
    labels = {step.label: index for index, step in enumerate(steps) if step.label}

    def skip(index: int, label: str) -> int:
        return labels[label] - index - 1 if label else 0

    return b"".join(
        struct.pack("=HBBI", step.code, skip(index, step.yes), skip(index, step.no), step.operand)
        for index, step in enumerate(steps)
    )


def attach(sock: socket.socket, program: bytes) -> None:
    """Filter what the socket receives; raise OSError."""
    code = ctypes.create_string_buffer(program, len(program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
