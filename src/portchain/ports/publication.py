"""A publication: what the engine was asked for. Parsed from every syntax of ``docker run -p`` and of compose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .forward import Endpoint
from .syntax import ANY_PORT, PortRange, bracketed, parse_address

PROTOCOLS = ("tcp", "udp", "sctp")
MODES = ("host", "ingress")
_RUN_KEYS = ("published", "target", "protocol")
_COMPOSE_KEYS = ("target", "published", "host_ip", "protocol", "mode", "name", "app_protocol")


@dataclass(frozen=True, order=True)
class Publication:
    """A container port (1 to 65535) and where the host is to listen for it.

    ``address`` is a numeric IP address, or empty for the wildcard of both families. ``host`` is one port, a range of
    which any one will do, or ``ANY_PORT``.
    """

    container: int
    protocol: str = "tcp"
    address: str = ""
    host: PortRange = ANY_PORT

    def __str__(self) -> str:
        """Format as ``docker run -p`` does: ``127.0.0.1:8080:80/tcp``, ``[::1]::22/tcp``, ``22/tcp``."""
        container = f"{self.container}/{self.protocol}"
        if self.address:
            return f"{bracketed(self.address)}:{self.host}:{container}"
        return f"{self.host}:{container}" if self.host != ANY_PORT else container

    @property
    def listen(self) -> Endpoint | None:
        """The host's endpoint; None if the port is still to be chosen."""
        if self.host == ANY_PORT or self.host.first != self.host.last:
            return None
        return Endpoint(self.protocol, self.address, self.host.first)


def parse_publication(value: object) -> list[Publication]:
    """Parse one publication of ``docker run -p`` (either notation) or compose (short or long form).

    A container range gives one publication a port, in order. Raise ValueError naming the word that is wrong.
    """
    try:
        if isinstance(value, Mapping):
            return _parse_compose(value)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(f"a {type(value).__name__}; expected a quoted string, a number or a mapping")
        text = str(value)
        return _parse_run(text) if "=" in text else _parse_short(text)
    except ValueError as error:
        raise ValueError(f"publication {value!r}: {error}") from None


def parse_all(values: Iterable[object]) -> list[Publication]:
    """Parse several publications; raise ValueError with one line for each that is wrong."""
    publications: list[Publication] = []
    errors: list[str] = []
    for value in values:
        try:
            publications += parse_publication(value)
        except ValueError as error:
            errors.append(str(error))
    if errors:
        raise ValueError("\n".join(errors))
    return publications


def _parse_short(text: str) -> list[Publication]:
    head, _, container = text.rpartition(":")
    address, _, host = head.rpartition(":")
    container, _, protocol = container.partition("/")
    return _expand(address, host, container, protocol)


def _parse_run(text: str) -> list[Publication]:
    options = dict(field.partition("=")[::2] for field in text.split(","))
    _refuse_unknown(options, _RUN_KEYS)
    return _expand("", options.get("published", ""), options.get("target", ""), options.get("protocol", ""))


def _parse_compose(options: Mapping[str, Any]) -> list[Publication]:
    _refuse_unknown([key for key in options if not str(key).startswith("x-")], _COMPOSE_KEYS)
    for key in ("target", "published"):
        if isinstance(options.get(key), bool | float):
            raise ValueError(f"{key} {options[key]!r}: not a port")
    values = {key: str(options[key]) for key in _COMPOSE_KEYS if options.get(key) is not None}
    if values.get("mode", "host") not in MODES:
        raise ValueError(f"mode {values['mode']!r}: one of {', '.join(MODES)}")
    target = values.get("target", "")
    if "-" in target:
        raise ValueError(f"target {target!r}: one port; a range needs the short form")
    return _expand(values.get("host_ip", ""), values.get("published", ""), target, values.get("protocol", ""))


def _refuse_unknown(keys: Iterable[object], allowed: tuple[str, ...]) -> None:
    for key in keys:
        if key not in allowed:
            raise ValueError(f"unknown key {key!r}; allowed: {', '.join(allowed)}")


def _expand(address: str, host: str, container: str, protocol: str) -> list[Publication]:
    host_ports = _parse_ports("host", host)
    containers = _parse_ports("container", container)
    if containers == ANY_PORT:
        raise ValueError(f"container port {container!r}: a number from 1 to 65535")
    protocol = protocol.lower() or "tcp"
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol {protocol!r}: one of {', '.join(PROTOCOLS)}")
    try:
        address = parse_address(address)
    except ValueError as error:
        raise ValueError(f"host address {error}") from None
    count = len(containers.numbers)
    if count == 1 or host_ports == ANY_PORT:
        hosts = [host_ports] * count
    elif count == len(host_ports.numbers):
        hosts = [PortRange(port, port) for port in host_ports.numbers]
    else:
        raise ValueError(f"ranges of unequal length: host ports {host_ports}, container ports {containers}")
    return [
        Publication(container_port, protocol, address, host_port)
        for container_port, host_port in zip(containers.numbers, hosts, strict=True)
    ]


def _parse_ports(side: str, text: str) -> PortRange:
    try:
        return PortRange.parse(text)
    except ValueError as error:
        raise ValueError(f"{side} port {error}") from None
