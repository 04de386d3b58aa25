"""What is asked about: a port of the host, perhaps at one address, perhaps of one protocol."""

from __future__ import annotations

from dataclasses import dataclass

from ..mapping.conflict import overlap
from ..mapping.forward import Endpoint
from ..mapping.words import parse_address, parse_port

PROTOCOLS = ("tcp", "udp")
_ANY = ("localhost", "*")


@dataclass(frozen=True)
class Query:
    """``protocol`` is empty for any, ``address`` is numeric, empty for any."""

    port: int
    protocol: str = ""
    address: str = ""

    def __str__(self) -> str:
        """``8080``, ``127.0.0.1:8080``, ``udp:53``, ``udp:[::1]:53``."""
        place = Endpoint("tcp", self.address, self.port).place if self.address else str(self.port)
        return f"{self.protocol}:{place}" if self.protocol == "udp" else place

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
        """Whether a client that means this would come to ``listen``."""
        same = listen.port == self.port and self.protocol in ("", listen.protocol)
        return same and overlap(self.address, listen.address)
