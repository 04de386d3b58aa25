"""A guest of the inventory, and the problems of its variables, each by itself and together."""

from __future__ import annotations

import contextlib
import ipaddress
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..host.guest_spec import GREATEST_ID
from ..host.shares import Shares
from ..image.suites import DEFAULT_ENGINE, SuiteChoice
from ..ports.bind_policy import DEFAULT_BIND, DEFAULT_RANDOM_PORTS, Policy, PolicyError
from ..ports.forward import Endpoint, Forward
from ..ports.publication import parse_all
from .role_variables import RoleOption, describe_unknown


@dataclass(frozen=True)
class InventoryGuest:
    """A host of the inventory: its name, the roles' variables that it was given, and the roles' own defaults.

    The values have the types of the roles' argument_specs. A value that could not be read is None or missing.
    """

    host: str
    given: Mapping[str, Any]
    defaults: Mapping[str, Any]

    @classmethod
    def read(
        cls, host: str, variables: Mapping[str, Any], options: Mapping[str, RoleOption]
    ) -> tuple[InventoryGuest, list[str]]:
        """Return the guest and the problems of its variables, each taken by itself."""
        problems = list(describe_unknown("variable", sorted(variables.keys() - options.keys()), options))
        given = {name: options[name].read(variables[name], name, problems) for name in variables if name in options}
        defaults = {name: option.default for name, option in options.items() if not _is_template(option.default)}
        return cls(host, given, defaults), [f"guest {host}: {problem}" for problem in problems]

    def __getitem__(self, variable: str) -> Any:
        """Return the given value, or else the role's default, or None."""
        return self.given.get(variable, self.defaults.get(variable))

    @property
    def name(self) -> str:
        """The guest's name on its machine."""
        return str(self["portchain_guest"] or self.host)

    @property
    def owner(self) -> str:
        """The user of the machine who owns the guest."""
        return str(self["portchain_owner"] or "root")

    @property
    def suites(self) -> SuiteChoice:
        """The engine and the Debian suites that the guest's images are built from."""
        engine = self["guest_image_engine"] or self["guest_engine"] or DEFAULT_ENGINE
        suites = self["guest_image_suites"] or {}
        return SuiteChoice(engine, {image: suite for image, suite in suites.items() if suite})

    def __str__(self) -> str:
        return f"guest {self.host}"

    def shares(self, home: str) -> Shares:
        """Return the host's folders that are shared with the guest; raise ValueError."""
        folders = self.given.get("guest_shares", [] if self.owner == "root" else ["~"]) or []
        return Shares.parse([folder for folder in folders if folder], home)

    def listens(self) -> list[tuple[Endpoint, str]]:
        """Return the endpoints that the host is to listen on, each with the label of its variable.

        Values that cannot be read are left out.
        """
        return [(endpoint, f"{self}: {label}") for label, endpoint in [*self._forwarded(), *self._published()]]

    def networks(self) -> list[tuple[str, ipaddress.IPv4Network, str | None]]:
        """Return the guest's networks: the label of the variable, the subnet, and the gateway if one is given."""
        rows = [("guest_subnet", self["guest_subnet"], None)]
        for bridge in self.bridges():
            label = element_label("docker_networks_networks", bridge)
            rows.append((label, bridge.get("subnet"), bridge.get("gateway")))
        return [(label, ipaddress.IPv4Network(subnet), gateway) for label, subnet, gateway in rows if subnet]

    def problems(self) -> Iterator[str]:
        """Yield the problems of variables that do not fit together."""
        for problem in (
            *self._id_problems(),
            *self._port_problems(),
            *self._duplicate_names(),
            *self._address_problems(),
        ):
            yield f"{self}: {problem}"

    def volumes(self, home: str) -> Iterator[tuple[str, str]]:
        """Yield the host's paths that containers mount, each with the label of its variable."""
        for container in self.containers():
            for index, volume in enumerate(container.get("volumes") or []):
                source, colon, _ = (volume or "").partition(":")
                if colon and source.startswith(("/", "~")):
                    path = home + source[1:] if source.startswith("~") else source
                    yield f"{element_label('workloads_containers', container)}: volumes[{index}]", path

    def containers(self) -> list[dict[str, Any]]:
        """Return the containers that the guest is to run."""
        return [container for container in self["workloads_containers"] or [] if container]

    def _id_problems(self) -> Iterator[str]:
        base, count = self["guest_uid_base"], self["guest_uid_count"]
        if base and count and base + count - 1 > GREATEST_ID:
            yield (
                f"guest_uid_base: {base} and guest_uid_count {count} lead to {base + count - 1}; "
                f"the greatest id is {GREATEST_ID}"
            )

    def _port_problems(self) -> Iterator[str]:
        try:
            policy = self._policy()
        except ValueError as error:
            yield f"host_forwarder_random_ports: {error}"
            return
        for label, forward in self._forwards():
            try:
                _parse_forward(forward)
            except ValueError as error:
                yield f"{label}: {error}"
        for label, endpoint in [*self._forwarded(), *self._published()]:
            try:
                if endpoint.protocol != "unix" and endpoint.port:
                    policy.check(endpoint)
            except PolicyError as error:
                yield f"{label}: {error}"

    def _policy(self) -> Policy:
        bind, ports = self["host_forwarder_bind"], self["host_forwarder_random_ports"]
        return Policy.parse(
            DEFAULT_BIND if bind is None else [rule for rule in bind if rule],
            str(ports or DEFAULT_RANDOM_PORTS),
            self["host_forwarder_random_address"] or None,
            privileged_ports=bool(self["host_forwarder_privileged_ports"]),
        )

    def _duplicate_names(self) -> Iterator[str]:
        for variable in ("workloads_containers", "docker_networks_networks"):
            names = Counter(element.get("name") for element in self[variable] or [] if element)
            yield from (
                f"{variable} {name}: is defined more than once" for name, count in names.items() if name and count > 1
            )

    def _address_problems(self) -> Iterator[str]:
        """Yield the problems of the containers' addresses on the guest's networks."""
        bridges = {bridge["name"]: bridge for bridge in self.bridges() if bridge.get("name") and bridge.get("subnet")}
        taken = {(name, bridge.get("gateway")) for name, bridge in bridges.items()}
        for container, network in self.attachments():
            name, address = network.get("name"), network.get("ipv4_address")
            if not address or name not in bridges:
                continue
            label = f"{element_label('workloads_containers', container)}: networks {name}: ipv4_address: {address}"
            if not is_host(address, ipaddress.IPv4Network(bridges[name]["subnet"])):
                yield f"{label} is no host address of {bridges[name]['subnet']}"
            elif (name, address) in taken:
                yield f"{label} is already taken on that network"
            taken.add((name, address))

    def attachments(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return each container with each network that it is to be on."""
        return [
            (container, network)
            for container in self.containers()
            for network in container.get("networks") or []
            if network
        ]

    def bridges(self) -> list[dict[str, Any]]:
        """Return the networks that are to be made in the guest's engine."""
        return [bridge for bridge in self["docker_networks_networks"] or [] if bridge]

    def _forwards(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the declared forwards that have both ends, each with the label of its variable."""
        forwards = enumerate(self["host_forwarder_forwards"] or [])
        return [
            (f"host_forwarder_forwards[{index}]", forward)
            for index, forward in forwards
            if forward and {"listen", "target"} <= forward.keys()
        ]

    def _forwarded(self) -> Iterator[tuple[str, Endpoint]]:
        for label, forward in self._forwards():
            with contextlib.suppress(ValueError):
                yield label, _parse_forward(forward).listen

    def _published(self) -> Iterator[tuple[str, Endpoint]]:
        for container in self.containers():
            for index, port in enumerate(container.get("ports") or []):
                for publication in parse_all([port] if port else []):
                    if publication.listen:
                        yield f"{element_label('workloads_containers', container)}: ports[{index}]", publication.listen


def element_label(variable: str, element: Mapping[str, Any]) -> str:
    """Return the label of a list's element: the variable and the element's name."""
    return f"{variable} {element.get('name')}"


def is_host(address: str, subnet: ipaddress.IPv4Network) -> bool:
    """Return whether a machine on ``subnet`` may have ``address``."""
    parsed = ipaddress.IPv4Address(address)
    return parsed in subnet and parsed not in (subnet.network_address, subnet.broadcast_address)


def _parse_forward(item: Mapping[str, Any]) -> Forward:
    ends = item.get("listen", ""), item.get("target", ""), item.get("protocol") or "tcp"
    return Forward.parse(*ends, item.get("proxy_protocol") or "")


def _is_template(value: Any) -> bool:
    return "{{" in str(value)
