"""Parse the kernel's list of tracked connections, /proc/net/nf_conntrack. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...ports.forward import Endpoint
from ...ports.syntax import bracketed
from ..model import Flow

_PROTOCOLS = ("tcp", "udp")
# How long the kernel keeps a UDP flow without packets, one that was answered and others.
_ASSURED_SECONDS, _UNSURE_SECONDS = 120, 30


def flows(text: str) -> Iterator[Flow]:
    """Parse the connections of TCP and UDP; lines that are not understood are ignored."""
    for line in text.splitlines():
        fields = line.split()
        try:
            if fields[2] in _PROTOCOLS:
                yield _flow(fields)
        except (ValueError, IndexError, KeyError):
            continue


def _flow(fields: list[str]) -> Flow:
    protocol = fields[2]
    pairs = [field.partition("=")[::2] for field in fields if "=" in field]
    original, reply = dict(pairs[:4]), dict(pairs[4:8])
    return Flow(
        protocol,
        "" if "=" in fields[5] or fields[5].startswith("[") else fields[5],
        _end(protocol, original, "s"),
        _end(protocol, original, "d"),
        _end(protocol, reply, "s"),
        _end(protocol, reply, "d"),
        "[UNREPLIED]" not in fields,
        _silent(fields) if protocol == "udp" else 0.0,
    )


def _silent(fields: list[str]) -> float:
    """Return for how many seconds no packet has come."""
    timeout = _ASSURED_SECONDS if "[ASSURED]" in fields else _UNSURE_SECONDS
    return float(max(0, timeout - int(fields[4]))) if fields[4].isdigit() else 0.0


def _end(protocol: str, pairs: dict[str, str], which: str) -> Endpoint:
    address = pairs["src" if which == "s" else "dst"]
    return Endpoint.parse(f"{protocol}:{bracketed(address)}:{pairs[f'{which}port']}")
