"""What rules do to the marks of a packet and of its connection, and to whether it is tracked. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .model import Changes, Packet

_ALL = 0xFFFFFFFF


def untracked(packet: Packet) -> Packet:
    """Conntrack leaves it alone, unless it has it already."""
    return replace(packet, state="UNTRACKED") if packet.state == "INVALID" else packet


def turned(which: str, bits: int, mask: int) -> Changes:
    """``mark`` or ``connection_mark`` loses the bits of ``mask``, then those of ``bits`` are turned."""
    return lambda packet: _with(packet, which, bits, mask)


def copied(source: str, source_mask: int, to: str, mask: int) -> Changes:
    """The one mark loses the bits of ``mask``, and those of the other, as far as ``source_mask`` goes, are turned."""

    def copy(packet: Packet) -> Packet:
        found = read(packet, source)
        return _with(packet, to, None if found is None else found & source_mask, mask)

    return copy


def put(which: str, value: Callable[[Packet], int | None]) -> Changes:
    """It becomes what ``value`` makes of the packet."""
    return lambda packet: _with(packet, which, value(packet), _ALL)


def none(packet: Packet) -> Packet:
    """Nothing."""
    return packet


def lost(which: str) -> Changes:
    """It can no longer be known."""
    return lambda packet: _with(packet, which, None, 0)


def read(packet: Packet, which: str) -> int | None:
    """The mark; None where it cannot be known."""
    return packet.mark if which == "mark" else packet.tracked_mark()


def _with(packet: Packet, which: str, bits: int | None, mask: int) -> Packet:
    if which != "mark" and packet.state in ("INVALID", "UNTRACKED"):  # there is no connection
        return packet
    before = read(packet, which)
    value = bits if bits is None or mask == _ALL else None if before is None else before & ~mask ^ bits
    return replace(packet, mark=value) if which == "mark" else replace(packet, connection_mark=value)
