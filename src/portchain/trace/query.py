"""A question about a port of the host, perhaps at one address, perhaps of one protocol."""

from __future__ import annotations

from dataclasses import dataclass

from ..ports.conflicts import overlap
from ..ports.forward import Endpoint
from ..ports.syntax import parse_address, parse_port

PROTOCOLS = ("tcp", "udp")
_ANY = ("localhost", "*")


@dataclass(frozen=True)
class Query:
    """A port to trace; ``protocol`` is empty for any, ``address`` is numeric, empty for any."""

    port: int
    protocol: str = ""
    address: str = ""

    def __str__(self) -> str:
        """Return ``8080``, ``127.0.0.1:8080``, ``udp:53`` or ``udp:[::1]:53``."""
        text = Endpoint("tcp", self.address, self.port).hostport if self.address else str(self.port)
        return f"{self.protocol}:{text}" if self.protocol == "udp" else text

    @classmethod
    def parse(cls, text: str) -> Query:
        """Read ``[tcp:|udp:][ADDRESS:]PORT[/tcp|/udp]``, an address being numeric or localhost; raise ValueError."""
        if "://" in text:
            raise ValueError(f"{text!r}: a URL; ask for its port, such as 8080 or 127.0.0.1:8080")
        head, colon, rest = text.partition(":")
        protocol, rest = (head, rest) if colon and head in PROTOCOLS else ("", text)
        rest, slash, suffix = rest.partition("/")
        if slash and suffix not in PROTOCOLS:
            raise ValueError(f"{text!r}: {suffix!r} is not a protocol that is forwarded; one of {', '.join(PROTOCOLS)}")
        if slash and protocol not in ("", suffix):
            raise ValueError(f"{text!r}: two protocols")
        address, _, port = rest.rpartition(":")
        number = parse_port(port)
        if not number:
            raise ValueError(f"{text!r}: 0 is not a port that can be reached")
        return cls(number, suffix or protocol, "" if address in _ANY else parse_address(address))

    def asks_for(self, listen: Endpoint) -> bool:
        """Tell whether a client of this port would connect to ``listen``."""
        same_port = listen.port == self.port and self.protocol in ("", listen.protocol)
        return same_port and overlap(self.address, listen.address)
