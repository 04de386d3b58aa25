"""Which of the host's ports a guest may have. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from .forward import Endpoint
from .plan import HOST_PORTS
from .words import PortRange, parse_address

ANY = "*"
DEFAULT_BIND = ("*:1024-65535",)
DEFAULT_RANDOM_PORTS = PortRange(HOST_PORTS[0], HOST_PORTS[-1])
_WILDCARDS = ("", "0.0.0.0", "::")


class PolicyError(Exception):
    """What was asked for is refused; the text names the rule."""


@dataclass(frozen=True)
class BindRule:
    """Addresses of the host, ``network`` None for all of them, and ports that may be bound there."""

    text: str
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None
    ports: PortRange

    @classmethod
    def parse(cls, text: str) -> BindRule:
        """Read ``*:1024-65535``, ``127.0.0.0/8:8080``, ``[::1]:*``; raise ValueError naming the wrong word."""
        address, colon, ports = text.rpartition(":")
        if not colon or not address:
            raise ValueError(f"{text!r}: expected address:ports, such as *:1024-65535 or 127.0.0.0/8:8080")
        bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
        try:
            network = None if bare == ANY else ipaddress.ip_network(bare)
            found = PortRange(1, 65535) if ports == ANY else PortRange.parse(ports)
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}") from None
        if not found.first:
            raise ValueError(f"{text!r}: 0 is not a port that can be bound")
        return cls(text, network, found)

    def allows(self, endpoint: Endpoint) -> bool:
        """Whether ``endpoint`` may be bound; a wildcard takes all addresses."""
        if not self.ports.first <= endpoint.port <= self.ports.last:
            return False
        if self.network is None:
            return True
        if endpoint.address in _WILDCARDS:
            return False
        return ipaddress.ip_address(endpoint.address) in self.network


@dataclass(frozen=True)
class Policy:
    """``bind``: what may be bound. A publication that leaves the port to us gets one of ``random_ports``.

    ``random_address`` is where such a port is listened on, None for the address asked for. ``host_network``: whether
    the listeners of containers in host network mode appear on the host.
    """

    bind: tuple[BindRule, ...] = tuple(map(BindRule.parse, DEFAULT_BIND))
    random_ports: PortRange = DEFAULT_RANDOM_PORTS
    random_address: str | None = None
    host_network: bool = True

    @classmethod
    def parse(
        cls, bind: Iterable[str], random_ports: str, random_address: str | None, host_network: bool = True
    ) -> Policy:
        """Read the inventory's words; raise ValueError."""
        ports = PortRange.parse(random_ports)
        if not ports.first:
            raise ValueError(f"random ports {random_ports!r}: a range such as 49152-65535")
        address = None if random_address is None else parse_address("" if random_address == ANY else random_address)
        return cls(tuple(map(BindRule.parse, bind)), ports, address, host_network)

    def check(self, endpoint: Endpoint) -> None:
        """Raise PolicyError if ``endpoint`` may not be bound."""
        if not any(rule.allows(endpoint) for rule in self.bind):
            allowed = ", ".join(rule.text for rule in self.bind) or "nothing"
            raise PolicyError(
                f"Ports are not available: the policy of the host refuses {endpoint.protocol.upper()} "
                f"{endpoint.place}: host_forwarder_bind allows {allowed}; "
                "add what is missing to the inventory and run site.yml"
            )
