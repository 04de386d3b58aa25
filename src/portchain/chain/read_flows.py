"""Reads the kernel's list of tracked connections, /proc/net/nf_conntrack. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..mapping.forward import Endpoint
from ..mapping.words import bracketed
from .model import Flow

_PROTOCOLS = ("tcp", "udp")


def flows(text: str) -> Iterator[Flow]:
    """The connections of TCP and UDP; lines that are not understood are passed over."""
    for line in text.splitlines():
        words = line.split()
        try:
            if words[2] in _PROTOCOLS:
                yield _flow(words)
        except (ValueError, IndexError, KeyError):
            continue


def _flow(words: list[str]) -> Flow:
    protocol = words[2]
    pairs = [word.partition("=")[::2] for word in words if "=" in word]
    first, answer = dict(pairs[:4]), dict(pairs[4:8])
    return Flow(
        protocol,
        "" if "=" in words[5] or words[5].startswith("[") else words[5],
        _end(protocol, first, "s"),
        _end(protocol, first, "d"),
        _end(protocol, answer, "s"),
        _end(protocol, answer, "d"),
        "[UNREPLIED]" not in words,
    )


def _end(protocol: str, pairs: dict[str, str], which: str) -> Endpoint:
    address = pairs["src" if which == "s" else "dst"]
    return Endpoint.parse(f"{protocol}:{bracketed(address)}:{pairs[f'{which}port']}")
