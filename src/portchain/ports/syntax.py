"""The syntax that endpoints and publications share: addresses and ports."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple


def parse_address(text: str) -> str:
    """Return the canonical form of an IP address, in brackets or not; empty text, for any address, stays empty.

    Raise ValueError for anything else: host names, networks, addresses with a zone.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not text:
        return ""
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        address = None
    if address is None or "%" in bare:
        raise ValueError(f"{text!r}: not an IP address")
    return str(getattr(address, "ipv4_mapped", None) or address)


def bracketed(address: str) -> str:
    """Return an address as it is written before a colon and a port."""
    return f"[{address}]" if ":" in address else address


def loopback_of(address: str) -> str:
    """Return the address at which a client on the same machine reaches a listener on ``address``."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)


def parse_port(text: str) -> int:
    """Parse a number from 0 to 65535; raise ValueError."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ValueError(f"{text!r}: not a port; a number from 0 to 65535")
    return int(text)


class PortRange(NamedTuple):
    """The ports from ``first`` to ``last``, both included; 0 to 0 stands for any free port."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> PortRange:
        """Parse ``80``, ``8000-8010``, or empty or ``0`` for any port; raise ValueError naming what is wrong."""
        first, dash, last = (text or "0").partition("-")
        ports = cls(parse_port(first), parse_port(last if dash else first))
        if ports.last < ports.first:
            raise ValueError(f"{text!r}: a range that ends before it begins")
        if ports.first == 0 < ports.last:
            raise ValueError(f"{text!r}: 0 stands for any port and begins no range")
        return ports

    def __str__(self) -> str:
        """Format as `PortRange.parse` reads; empty for any port."""
        if self == ANY_PORT:
            return ""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    @property
    def numbers(self) -> range:
        """The ports, in order."""
        return range(self.first, self.last + 1)


ANY_PORT = PortRange(0, 0)
