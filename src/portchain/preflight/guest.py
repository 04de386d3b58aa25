"""A guest as the inventory has it, and what is wrong with its variables taken one by one."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..guest.egress import Egress
from ..guest.host_access_policy import HostAccess
from ..guest.shares import Shares
from ..guest.spec import parse_size
from ..mapping.forward import Endpoint, Forward
from ..mapping.policy import DEFAULT_BIND, DEFAULT_RANDOM_PORTS, Policy, PolicyError
from ..mapping.publication import parse_all

PORTCHAIN = ("portchain_guest", "portchain_machine", "portchain_owner")
LEAST_IDS = 65536


@dataclass(frozen=True)
class Guest:
    """A host of the inventory: its name, the role variables it was given, and the roles' own defaults.

    The values have the types that the roles' argument_specs ask for.
    """

    host: str
    given: Mapping[str, Any]
    defaults: Mapping[str, Any]

    def __getitem__(self, variable: str) -> Any:
        """The value given, or else the role's default; None where neither is."""
        return self.given.get(variable, self.defaults.get(variable))

    @property
    def name(self) -> str:
        """The guest's name on its machine."""
        return str(self.given.get("portchain_guest", self.host))

    def __str__(self) -> str:
        return f"guest {self.host}"

    def listens(self) -> list[tuple[Endpoint, str]]:
        """Where the host is to listen, and which variable says so; what is not understood is left out."""
        forwards = self._read(self._forwards(), lambda forward: [_forward(forward).listen])
        return [*forwards, *self._read(self._ports(), _published)]

    def networks(self) -> list[tuple[str, ipaddress.IPv4Network | ipaddress.IPv6Network, str | None]]:
        """The networks that the guest is to be on: which variable says so, subnet, gateway if one is given."""
        found = []
        for label, subnet, gateway in [("guest_subnet", self["guest_subnet"], None), *self._bridges()]:
            try:
                found.append((label, ipaddress.ip_network(subnet), gateway))
            except ValueError:
                continue
        return found

    def problems(self) -> Iterator[str]:
        """What cannot be read, each naming the variable."""
        for label, value, check in self._readings():
            try:
                check(value)
            except ValueError as error:
                for line in str(error).splitlines():
                    yield f"{self}: {label}: {line}"

    def _readings(self) -> Iterator[tuple[str, Any, Callable[[Any], object]]]:
        for variable in ("guest_memory", "guest_data_size"):
            if self[variable] is not None:
                yield variable, self[variable], parse_size
        for variable in ("guest_uid_base", "guest_uid_count"):
            if self[variable] is not None:
                yield variable, self[variable], _ids
        if self["guest_subnet"]:
            yield "guest_subnet", self["guest_subnet"], _guest_subnet
        if self["guest_host_access"]:
            yield "guest_host_access", self["guest_host_access"], HostAccess.parse
        without_plain_defaults: tuple[tuple[str, Callable[[Any], object]], ...] = (
            ("guest_allowlist", Egress.parse),
            ("guest_http_proxy", lambda url: Egress.parse([], url)),
            ("guest_no_proxy", lambda words: Egress.parse([], "", words)),
            ("guest_shares", Shares.parse),
        )
        yield from ((name, self.given[name], check) for name, check in without_plain_defaults if name in self.given)
        yield from ((label, subnet, ipaddress.ip_network) for label, subnet, _ in self._bridges())
        yield from ((label, forward, _forward) for label, forward in self._forwards())
        yield "host_forwarder_bind", self, Guest.policy
        yield from ((label, port, self._check_port) for label, port in self._ports())

    def policy(self) -> Policy:
        """Which of the host's ports the containers may have; raise ValueError."""
        bind, ports = self["host_forwarder_bind"], self["host_forwarder_random_ports"]
        return Policy.parse(
            DEFAULT_BIND if bind is None else bind,
            str(ports or DEFAULT_RANDOM_PORTS),
            self["host_forwarder_random_address"] or None,
        )

    def _check_port(self, port: Any) -> None:
        listens = _published(port)
        try:
            policy = self.policy()
        except ValueError:
            return
        for endpoint in listens:
            _allow(policy, endpoint)

    def _read(
        self, labelled: Iterable[tuple[str, Any]], reader: Callable[[Any], list[Endpoint]]
    ) -> Iterator[tuple[Endpoint, str]]:
        for label, value in labelled:
            try:
                yield from ((endpoint, f"{self}: {label}") for endpoint in reader(value))
            except ValueError:
                continue

    def _forwards(self) -> list[tuple[str, Any]]:
        forwards = self["host_forwarder_forwards"] or []
        return [(f"host_forwarder_forwards[{index}]", forward) for index, forward in enumerate(forwards)]

    def _ports(self) -> list[tuple[str, Any]]:
        return [
            (f"workloads_containers {container.get('name')}: ports[{index}]", port)
            for container in self["workloads_containers"] or []
            for index, port in enumerate(container.get("ports") or [])
        ]

    def _bridges(self) -> list[tuple[str, Any, str | None]]:
        networks = self["docker_networks_networks"] or []
        return [(f"docker_networks_networks {n.get('name')}", n.get("subnet"), n.get("gateway")) for n in networks]


def _published(port: Any) -> list[Endpoint]:
    return [listen for one in parse_all([port]) if (listen := one.listen)]


def _allow(policy: Policy, endpoint: Endpoint) -> None:
    try:
        policy.check(endpoint)
    except PolicyError as error:
        raise ValueError(str(error)) from error


def _forward(words: Mapping[str, Any]) -> Forward:
    ends = words.get("listen", ""), words.get("target", ""), words.get("protocol") or "tcp"
    return Forward.parse(*ends, words.get("proxy_protocol") or "")


def _guest_subnet(text: str) -> None:
    if ipaddress.IPv4Network(text).prefixlen > 29:
        raise ValueError(f"{text!r}: too small for the gateway and eth0; a /29 or larger")


def _ids(value: int) -> None:
    if value < LEAST_IDS:
        raise ValueError(f"{value}: at least {LEAST_IDS}, for the ids below are the machine's own")


def unknown_variables(guest: Guest, known: Iterable[str]) -> Iterator[str]:
    """Variables that begin with a role's name but are none of the roles'."""
    names = {*known, *PORTCHAIN}
    for name in sorted(guest.given.keys() - names):
        close = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {close[0]}?" if close else "; ansible-doc -t role lists those that there are"
        yield f"{guest}: no role has a variable {name}{hint}"
