"""A forward: a listening socket on the host and the guest target it leads to."""

from __future__ import annotations

from dataclasses import dataclass

from .words import bracketed, parse_address, parse_port

PROTOCOLS = ("tcp", "udp", "unix")
MAX_PATH = 107  # bytes, as the kernel has room for
PROXY_PROTOCOLS = ("", "v1", "v2")


@dataclass(frozen=True, order=True)
class Endpoint:
    """One end of a forward.

    ``protocol`` is tcp, udp or unix. For unix, ``address`` is a path and ``port`` is 0. Otherwise ``address`` is a
    numeric IP address, or empty for the wildcard of both families, and ``port`` is 0 to 65535.
    """

    protocol: str
    address: str
    port: int = 0

    def __str__(self) -> str:
        """Read back by `Endpoint.parse`: ``tcp:127.0.0.1:80``, ``tcp:[::1]:80``, ``tcp::80``, ``unix:/path``."""
        return f"{self.protocol}:{self.place}"

    @property
    def place(self) -> str:
        """The endpoint without its protocol: ``127.0.0.1:80``, ``[::1]:80``, ``:80``, ``/path``."""
        return self.address if self.protocol == "unix" else f"{bracketed(self.address)}:{self.port}"

    @classmethod
    def parse(cls, text: str, protocol: str = "tcp") -> Endpoint:
        """Read ``[protocol:]address:port`` or ``unix:/path``; raise ValueError naming what is wrong."""
        head, colon, rest = text.partition(":")
        if colon and head in PROTOCOLS:
            protocol, text = head, rest
        if protocol == "unix":
            if not text.startswith("/"):
                raise ValueError(f"{text!r}: a unix endpoint needs an absolute path")
            if len(text.encode(errors="replace")) > MAX_PATH or "\0" in text:
                raise ValueError(f"{text!r}: a socket's path has at most {MAX_PATH} bytes, none of them zero")
            return cls("unix", text)
        if protocol not in PROTOCOLS:
            raise ValueError(f"{protocol!r}: not a protocol; one of {', '.join(PROTOCOLS)}")
        host, colon, port = text.rpartition(":")
        if not colon:
            raise ValueError(f"{text!r}: expected address:port, such as 127.0.0.1:8080 or :8080")
        return cls(protocol, parse_address(host), parse_port(port))


@dataclass(frozen=True, order=True)
class Forward:
    """A listening socket on the host (``listen``) and the guest target it leads to (``target``).

    ``proxy_protocol`` is the version of the PROXY protocol in which the target is told of the client, or empty.
    """

    listen: Endpoint
    target: Endpoint
    proxy_protocol: str = ""

    @classmethod
    def parse(cls, listen: str, target: str, protocol: str = "tcp", proxy_protocol: str = "") -> Forward:
        """Read both ends, the target's protocol being that of ``listen`` unless it says; raise ValueError."""
        if proxy_protocol not in PROXY_PROTOCOLS:
            raise ValueError(f"{proxy_protocol!r}: not a version of the PROXY protocol; v1 or v2")
        one = Endpoint.parse(listen, protocol)
        other = Endpoint.parse(target, protocol if one.protocol == "unix" else one.protocol)
        if proxy_protocol and "udp" in (one.protocol, other.protocol):
            raise ValueError(f"{listen}: the PROXY protocol is for tcp, not for udp")
        return cls(one, other, proxy_protocol)

    def as_dict(self) -> dict[str, str]:
        """The forward as the inventory writes it: ``listen``, ``target``, ``protocol``, ``proxy_protocol``."""
        both = (self.listen, self.target)
        listen, target = (str(end) if end.protocol == "unix" else end.place for end in both)
        protocol = next((end.protocol for end in both if end.protocol != "unix"), "tcp")
        return {"listen": listen, "target": target, "protocol": protocol, "proxy_protocol": self.proxy_protocol}
