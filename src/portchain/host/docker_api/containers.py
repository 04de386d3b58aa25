"""A container as the engine's inspection describes it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ...ports.forward import Endpoint
from ...ports.planning import FORWARDED
from ...ports.syntax import ANY_PORT, PortRange, bracketed
from ...protocol.container_states import STARTED
from .publications import ContainerPublication, split_key
from .records import Record

MAX_FOREIGN = 1024  # publications of a container that were made in the guest itself

_WILDCARDS = ("0.0.0.0", "::")


@dataclass(frozen=True)
class EngineContainer:
    """A container of the guest's engine.

    The host is to listen for the ``live`` publications. ``state`` is the engine's ``State.Status``. ``proxy`` is the
    version of the PROXY protocol for its ports, by key.
    """

    id: str
    name: str
    state: str
    live: tuple[ContainerPublication, ...]
    proxy: Mapping[str, str]
    host_network: bool = False

    @classmethod
    def read(cls, document: Mapping[str, Any], record: Record) -> EngineContainer:
        """Read the inspection of the container that ``record`` describes."""
        state = str((document.get("State") or {}).get("Status"))
        host_config = document.get("HostConfig") or {}
        return cls(
            id=str(document["Id"]),
            name=str(document["Name"]).lstrip("/"),
            state=state,
            live=tuple(_live_publications(document, record, state)),
            proxy=record.proxy,
            host_network=host_config.get("NetworkMode") == "host" and state in STARTED,
        )


def _live_publications(document: Mapping[str, Any], record: Record, state: str) -> Iterator[ContainerPublication]:
    """Yield the publications that the engine serves now.

    While a container restarts the engine serves none, but will in a moment: then all count as live.
    """
    if state == "restarting":
        yield from record.published
    elif state in STARTED:
        endpoints = guest_endpoints(document)
        known = {publication.guest for publication in record.published}
        yield from (publication for publication in record.published if publication.guest in endpoints)
        foreign = ((end, key) for end, key in endpoints.items() if end not in known and end.port)
        yield from _foreign(document, dict(islice(foreign, MAX_FOREIGN)))


def guest_endpoints(document: Mapping[str, Any]) -> dict[Endpoint, str]:
    """Return the guest endpoints that the engine publishes for an inspected container, each with the container port.

    Raise ValueError, TypeError, AttributeError or KeyError for what an engine does not say.
    """
    ports = (document.get("NetworkSettings") or {}).get("Ports") or {}
    return {
        Endpoint.parse(f"{protocol}:{bracketed(binding['HostIp'])}:{binding['HostPort']}"): key
        for key, bindings in ports.items()
        if (protocol := split_key(key)[1]) in FORWARDED
        for binding in bindings or ()
        if binding.get("HostPort") not in ("", "0")
    }


def _foreign(document: Mapping[str, Any], endpoints: Mapping[Endpoint, str]) -> Iterator[ContainerPublication]:
    """Yield publications that were made in the guest itself; they get the same endpoint on the host.

    One that was asked for without an address is listened for in both families, even if the guest has it in one only.
    """
    requested = _requested_bindings(document)
    wildcards = [
        endpoint
        for endpoint, key in endpoints.items()
        if endpoint.address == "0.0.0.0" and _requested_without_address(endpoint, requested.get(split_key(key), []))
    ]
    both_families = {(endpoint.protocol, endpoint.port) for endpoint in wildcards}
    for endpoint, key in sorted(endpoints.items()):
        wildcard = endpoint.address in _WILDCARDS and (endpoint.protocol, endpoint.port) in both_families
        if not (wildcard and endpoint.address == "::"):
            yield ContainerPublication(key, "" if wildcard else endpoint.address, str(endpoint.port), endpoint)


def _requested_bindings(document: Mapping[str, Any]) -> dict[tuple[int, str], list[Mapping[str, Any]]]:
    """Return the bindings that the engine was asked for, by container port and protocol."""
    requested: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for key, bindings in ((document.get("HostConfig") or {}).get("PortBindings") or {}).items():
        requested.setdefault(split_key(key), []).extend(bindings or ())
    return requested


def _requested_without_address(endpoint: Endpoint, requested: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the engine was asked for the endpoint's port, in one of these bindings, without an address."""
    ranges = (PortRange.parse(binding.get("HostPort") or "") for binding in requested if not binding.get("HostIp"))
    return not requested or any(ports == ANY_PORT or endpoint.port in ports.numbers for ports in ranges)
