"""Simulate what rules do to the marks of a packet and of its connection, and to whether it is tracked. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .filter_rules import Changes, Packet

_ALL = 0xFFFFFFFF


def untracked(packet: Packet) -> Packet:
    """Return the packet as conntrack ignores it, unless it is tracked already."""
    return replace(packet, state="UNTRACKED") if packet.state == "INVALID" else packet


def turned(which: str, bits: int, mask: int) -> Changes:
    """Return a change that clears the bits of ``mask`` in a mark, then toggles those of ``bits``.

    ``which`` is ``mark`` or ``connection_mark``.
    """
    return lambda packet: _with(packet, which, bits, mask)


def copied(source: str, source_mask: int, to: str, mask: int) -> Changes:
    """Return a change that clears ``mask`` in one mark, then toggles the bits of the other under ``source_mask``."""

    def copy(packet: Packet) -> Packet:
        value = read(packet, source)
        return _with(packet, to, None if value is None else value & source_mask, mask)

    return copy


def put(which: str, value: Callable[[Packet], int | None]) -> Changes:
    """Return a change that sets a mark to what ``value`` computes from the packet."""
    return lambda packet: _with(packet, which, value(packet), _ALL)


def none(packet: Packet) -> Packet:
    """Return the packet unchanged."""
    return packet


def lost(which: str) -> Changes:
    """Return a change after which a mark is not known."""
    return lambda packet: _with(packet, which, None, 0)


def read(packet: Packet, which: str) -> int | None:
    """Return a mark of the packet; None where it is not known."""
    return packet.mark if which == "mark" else packet.tracked_mark()


def _with(packet: Packet, which: str, bits: int | None, mask: int) -> Packet:
    if which != "mark" and packet.state in ("INVALID", "UNTRACKED"):  # there is no connection
        return packet
    current = read(packet, which)
    value = bits if bits is None or mask == _ALL else None if current is None else current & ~mask ^ bits
    return replace(packet, mark=value) if which == "mark" else replace(packet, connection_mark=value)
