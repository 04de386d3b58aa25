"""Rewriting the engine's JSON between the guest's ports and the host's. Pure; documents are changed in place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ...http.body import ProtocolError
from ...ports.forward import PROXY_PROTOCOLS, Endpoint
from ...protocol.container_states import STARTED
from .publications import ContainerPublication, split_key
from .records import Record

Document = dict[str, Any]
# The host endpoint for each guest endpoint of a container.
HostEndpoints = Mapping[Endpoint, Endpoint]
UNFORWARDED_NETWORKS = ("host", "none")
PROXY_LABEL = "io.portchain.proxy-protocol/"
NOT_STARTED = 128  # the exit code of a container whose start failed


def has_publications(create: Document) -> bool:
    """Return whether a container created by this request body has publications of its own."""
    mode = str((create.get("HostConfig") or {}).get("NetworkMode") or "")
    return mode not in UNFORWARDED_NETWORKS and not mode.startswith("container:")


def requested_publications(create: Document, image_ports: Iterable[str]) -> list[ContainerPublication]:
    """Return the publications in the body of a create request; ``image_ports`` are the image's, such as ``80/tcp``.

    Raise ValueError, TypeError or AttributeError for a body that the engine would refuse.
    """
    host_config = create.get("HostConfig") or {}
    bindings = host_config.get("PortBindings") or {}
    publications = [
        ContainerPublication.read(key, binding or {}) for key, values in bindings.items() for binding in values or ()
    ]
    if host_config.get("PublishAllPorts"):
        exposed = {*image_ports, *(create.get("ExposedPorts") or {})}
        unbound = [key for key in sorted(exposed) if not bindings.get(key)]
        publications += [ContainerPublication.read(key, {}, of_all=True) for key in unbound]
    return [publication for publication in publications if publication]


def proxy_protocols(create: Document) -> dict[str, str]:
    """Return the version of the PROXY protocol for each container port, from the labels in a create request's body.

    The label ``io.portchain.proxy-protocol/80/tcp=v2`` gives ``{"80/tcp": "v2"}``. Raise ProtocolError for an unknown
    version.
    """
    labels: dict[str, str] = create.get("Labels") or {}
    versions = {key.removeprefix(PROXY_LABEL): labels[key] for key in labels if key.startswith(PROXY_LABEL)}
    for key, version in versions.items():
        if version not in PROXY_PROTOCOLS:
            raise ProtocolError(400, f"host: label {PROXY_LABEL}{key}={version}: the PROXY protocol has v1 and v2")
    return versions


def rewrite_create(create: Document, published: Iterable[ContainerPublication]) -> None:
    """Put the guest endpoints of ``published`` into the body of a create request, in place of the host's."""
    host_config = create["HostConfig"]
    bindings = _bindings((row.key, row.guest.address, row.guest.port) for row in published)
    host_config["PortBindings"] = (host_config.get("PortBindings") or {}) | bindings


def rewrite_inspect(document: Document, record: Record, host_endpoints: HostEndpoints) -> None:
    """Rewrite an inspection to the request as the client made it and to the host's ports.

    If the host refused the container's last start, its state says so.
    """
    if record.published:
        _restore_request(document.get("HostConfig") or {}, record.published)
    ports = (document.get("NetworkSettings") or {}).get("Ports") or {}
    for key, bindings in ports.items():
        ports[key] = _host_bindings(key, bindings, host_endpoints) if bindings else bindings
    state = document.get("State") or {}
    if record.refused and state.get("Status") not in STARTED:
        state["Error"] = record.refused
        state["ExitCode"] = state.get("ExitCode") or NOT_STARTED


def _restore_request(host_config: Document, published: Iterable[ContainerPublication]) -> None:
    """Put the bindings that the client asked for in place of the guest's."""
    bindings = host_config.get("PortBindings") or {}
    rewritten = {row.key for row in published}
    kept = {key: values for key, values in bindings.items() if key not in rewritten}
    host_config["PortBindings"] = kept | _bindings((row.key, row.ip, row.port) for row in published if not row.of_all)
    host_config["PublishAllPorts"] = any(row.of_all for row in published) or host_config.get("PublishAllPorts", False)


def rewrite_row(row: Document, record: Record, host_endpoints: HostEndpoints) -> None:
    """Rewrite one row of a list of containers as `rewrite_inspect` does an inspection."""
    for port in row.get("Ports") or ():
        host = host_endpoints.get(Endpoint(port["Type"], port.get("IP", ""), port.get("PublicPort", 0)))
        if host:
            port["IP"], port["PublicPort"] = host.address or "0.0.0.0", host.port
    if record.refused and row.get("State") not in STARTED:
        row["Status"] = re.sub(r"^Exited \(0\)", f"Exited ({NOT_STARTED})", str(row.get("Status", "")))


def _bindings(rows: Iterable[tuple[str, str, int | str]]) -> dict[str, list[dict[str, str]]]:
    """Return rows of key, address and port in the engine's form of port bindings."""
    bindings: dict[str, list[dict[str, str]]] = {}
    for key, ip, port in rows:
        bindings.setdefault(key, []).append({"HostIp": ip, "HostPort": str(port)})
    return bindings


def _host_bindings(key: str, bindings: list[dict[str, str]], host_endpoints: HostEndpoints) -> list[dict[str, str]]:
    """Return ``bindings`` of a container port with the host's endpoints in place of the guest's."""
    _, protocol = split_key(key)
    rewritten = []
    for binding in bindings:
        host = host_endpoints.get(Endpoint(protocol, binding["HostIp"], int(binding["HostPort"] or 0)))
        rewritten.append({"HostIp": host.address or "0.0.0.0", "HostPort": str(host.port)} if host else binding)
    return rewritten
