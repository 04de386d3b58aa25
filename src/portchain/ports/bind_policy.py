"""The policy that says which of the host's ports a guest may have. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from .conflicts import WILDCARDS
from .forward import Endpoint
from .planning import HOST_PORTS
from .syntax import PortRange, parse_address

ANY = "*"
DEFAULT_BIND = ("*:1024-65535",)
PRIVILEGED = "*:1-1023"
DEFAULT_RANDOM_PORTS = PortRange(HOST_PORTS[0], HOST_PORTS[-1])


class PolicyError(Exception):
    """A port is refused by the policy; the text names the rule."""


@dataclass(frozen=True)
class BindRule:
    """A network of the host's addresses, None for all of them, and the ports that may be bound there."""

    text: str
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None
    ports: PortRange

    @classmethod
    def parse(cls, text: str) -> BindRule:
        """Parse ``*:1024-65535``, ``127.0.0.0/8:8080`` or ``[::1]:*``; raise ValueError naming what is wrong."""
        address, colon, ports = text.rpartition(":")
        if not colon or not address:
            raise ValueError(f"{text!r}: expected address:ports, such as *:1024-65535 or 127.0.0.0/8:8080")
        bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
        try:
            network = None if bare == ANY else ipaddress.ip_network(bare)
            port_range = PortRange(1, 65535) if ports == ANY else PortRange.parse(ports)
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}") from None
        if not port_range.first:
            raise ValueError(f"{text!r}: 0 is not a port that can be bound")
        return cls(text, network, port_range)

    def allows(self, endpoint: Endpoint) -> bool:
        """Return whether ``endpoint`` may be bound; only a rule for all addresses allows a wildcard."""
        if not self.ports.first <= endpoint.port <= self.ports.last:
            return False
        if self.network is None:
            return True
        if endpoint.address in WILDCARDS:
            return False
        return ipaddress.ip_address(endpoint.address) in self.network


@dataclass(frozen=True)
class Policy:
    """Which ports may be bound (``bind``), and how unspecified ones are chosen.

    A publication without a host port gets one of ``random_ports``, on ``random_address``, or if that is None on the
    address asked for. ``host_network`` says whether listeners of containers in host network mode appear on the host.
    """

    bind: tuple[BindRule, ...] = tuple(map(BindRule.parse, DEFAULT_BIND))
    random_ports: PortRange = DEFAULT_RANDOM_PORTS
    random_address: str | None = None
    host_network: bool = True

    @classmethod
    def parse(
        cls,
        bind: Iterable[str],
        random_ports: str,
        random_address: str | None,
        host_network: bool = True,
        privileged_ports: bool = False,
    ) -> Policy:
        """Parse the inventory's values; ``privileged_ports`` allows ports below 1024, too. Raise ValueError."""
        ports = PortRange.parse(random_ports)
        if not ports.first:
            raise ValueError(f"random ports {random_ports!r}: a range such as 49152-65535")
        address = None if random_address is None else parse_address("" if random_address == ANY else random_address)
        rules = [*bind, *([PRIVILEGED] if privileged_ports else [])]
        return cls(tuple(map(BindRule.parse, rules)), ports, address, host_network)

    def allows(self, endpoint: Endpoint) -> bool:
        """Return whether ``endpoint`` may be bound."""
        return any(rule.allows(endpoint) for rule in self.bind)

    def check(self, endpoint: Endpoint) -> None:
        """Raise PolicyError if ``endpoint`` may not be bound."""
        if not self.allows(endpoint):
            allowed = ", ".join(rule.text for rule in self.bind) or "nothing"
            raise PolicyError(
                f"Ports are not available: the policy of the host refuses {endpoint.protocol.upper()} "
                f"{endpoint.hostport}: host_forwarder_bind allows {allowed}; {remedy(endpoint)}"
            )


def remedy(endpoint: Endpoint) -> str:
    """Return what to do to have ``endpoint``, which is refused."""
    rule = f'"*:{endpoint.port}"'
    switch = "set host_forwarder_privileged_ports: true for all ports below 1024, or " if endpoint.port < 1024 else ""
    return f"{switch}add {rule} or the like to host_forwarder_bind in the inventory, and run site.yml"
