"""A forward: a listening socket on the host and the guest target it leads to."""

from __future__ import annotations

from dataclasses import dataclass

from .syntax import bracketed, parse_address, parse_port

PROTOCOLS = ("tcp", "udp", "unix")
MAX_PATH = 107  # bytes; the kernel's limit
PROXY_PROTOCOLS = ("", "v1", "v2")


@dataclass(frozen=True, order=True)
class Endpoint:
    """One end of a forward, or a socket's address.

    ``protocol`` is tcp, udp or unix. For unix, ``address`` is a path and ``port`` is 0. Otherwise ``address`` is a
    numeric IP address, or empty for the wildcard of both families, and ``port`` is 0 to 65535.
    """

    protocol: str
    address: str
    port: int = 0

    def __str__(self) -> str:
        """Format as `Endpoint.parse` reads: ``tcp:127.0.0.1:80``, ``tcp:[::1]:80``, ``tcp::80``, ``unix:/path``."""
        return f"{self.protocol}:{self.hostport}"

    @property
    def hostport(self) -> str:
        """The endpoint without its protocol: ``127.0.0.1:80``, ``[::1]:80``, ``:80``, ``/path``."""
        return self.address if self.protocol == "unix" else f"{bracketed(self.address)}:{self.port}"

    def display(self, *, protocol: bool = False) -> str:
        """Return the endpoint for people: ``*:8080``, ``127.0.0.1:53``, ``/path``; with ``protocol``: ``udp *:53``."""
        text = self.hostport if self.address else f"*:{self.port}"
        return f"udp {text}" if protocol and self.protocol == "udp" else text

    @classmethod
    def parse(cls, text: str, protocol: str = "tcp") -> Endpoint:
        """Parse ``[protocol:]address:port`` or ``unix:/path``; raise ValueError naming what is wrong.

        ``localhost`` is 127.0.0.1; other names are not looked up.
        """
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
        return cls(protocol, "127.0.0.1" if host.lower() == "localhost" else parse_address(host), parse_port(port))


@dataclass(frozen=True, order=True)
class Forward:
    """A listening socket on the host (``listen``) and the guest target it leads to (``target``).

    ``proxy_protocol`` is the version of the PROXY protocol that tells the target about the client, or empty.
    """

    listen: Endpoint
    target: Endpoint
    proxy_protocol: str = ""

    @classmethod
    def parse(cls, listen: str, target: str, protocol: str = "tcp", proxy_protocol: str = "") -> Forward:
        """Parse both ends; ``target`` has the protocol of ``listen`` unless it names its own. Raise ValueError."""
        if proxy_protocol not in PROXY_PROTOCOLS:
            raise ValueError(f"{proxy_protocol!r}: not a version of the PROXY protocol; v1 or v2")
        source = Endpoint.parse(listen, protocol)
        destination = Endpoint.parse(target, protocol if source.protocol == "unix" else source.protocol)
        if proxy_protocol and "udp" in (source.protocol, destination.protocol):
            raise ValueError(f"{listen}: the PROXY protocol is for tcp, not for udp")
        return cls(source, destination, proxy_protocol)

    def as_dict(self) -> dict[str, str]:
        """Return the forward as the inventory writes it: ``listen``, ``target``, ``protocol``, ``proxy_protocol``."""
        endpoints = (self.listen, self.target)
        listen, target = (str(end) if end.protocol == "unix" else end.hostport for end in endpoints)
        protocol = next((end.protocol for end in endpoints if end.protocol != "unix"), "tcp")
        return {"listen": listen, "target": target, "protocol": protocol, "proxy_protocol": self.proxy_protocol}
