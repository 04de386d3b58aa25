"""The engine's JSON between its view, with the guest's ports, and the host's. Pure; documents are changed in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..mapping.forward import Endpoint
from .publications import LABEL, Published, labels, read_labels, split_key

Document = dict[str, Any]
# The host's end for each of a container's guest endpoints.
HostEnds = Mapping[Endpoint, Endpoint]
UNFORWARDED_NETWORKS = ("host", "none")


def is_forwarded(create: Document) -> bool:
    """Whether a container so created has publications of its own."""
    mode = str((create.get("HostConfig") or {}).get("NetworkMode") or "")
    return mode not in UNFORWARDED_NETWORKS and not mode.startswith("container:")


def asked(create: Document, image_ports: Iterable[str]) -> list[Published]:
    """The publications in the body of a create; ``image_ports`` as the image exposes them: ``80/tcp``.

    Raise ValueError, TypeError or AttributeError for what the engine would refuse.
    """
    host_config = create.get("HostConfig") or {}
    bindings = host_config.get("PortBindings") or {}
    found = [Published.read(key, one or {}) for key, several in bindings.items() for one in several or ()]
    if host_config.get("PublishAllPorts"):
        exposed = {*image_ports, *(create.get("ExposedPorts") or {})}
        found += [Published.read(key, {}, of_all=True) for key in sorted(exposed) if not bindings.get(key)]
    return [one for one in found if one]


def rewrite_create(create: Document, published: Iterable[Published]) -> None:
    """Have the guest's engine asked for the guest's places, and the publications kept in labels."""
    published = list(published)
    host_config = create["HostConfig"] = create.get("HostConfig") or {}
    bindings = host_config.get("PortBindings") or {}
    ours = {one.key for one in published}
    kept = {key: several for key, several in bindings.items() if _canonical(key) not in ours}
    host_config["PortBindings"] = kept | _bindings((one.key, one.guest.address, one.guest.port) for one in published)
    host_config["PublishAllPorts"] = False
    create["Labels"] = (create.get("Labels") or {}) | labels(published)


def rewrite_inspect(document: Document, ends: HostEnds) -> None:
    """Show a container as it was asked for, and its ports as the host has them."""
    published = read_labels((document.get("Config") or {}).get("Labels"))
    if not published:
        return
    host_config = document.get("HostConfig") or {}
    guest = {one.key for one in published}
    kept = {key: several for key, several in (host_config.get("PortBindings") or {}).items() if key not in guest}
    shown = ((one.key, one.ip, one.port) for one in published if not one.of_all)
    host_config["PortBindings"] = kept | _bindings(shown)
    host_config["PublishAllPorts"] = any(one.of_all for one in published)
    ports = (document.get("NetworkSettings") or {}).get("Ports") or {}
    for key, several in ports.items():
        ports[key] = _host_bindings(key, several, ends) if several else several


def rewrite_row(row: Document, ends: HostEnds) -> None:
    """Show one row of a list of containers with its ports as the host has them."""
    if not read_labels(row.get("Labels")):
        return
    for port in row.get("Ports") or ():
        end = ends.get(Endpoint(port["Type"], port.get("IP", ""), port.get("PublicPort", 0)))
        if end:
            port["IP"], port["PublicPort"] = end.address or "0.0.0.0", end.port


def guest_ends(row: Document) -> dict[Endpoint, Document]:
    """The guest's endpoints that the engine leads to the container of a row, and what the row says of each."""
    ports = row.get("Ports") or ()
    return {Endpoint(p["Type"], p.get("IP", ""), p["PublicPort"]): p for p in ports if p.get("PublicPort")}


def strip_label(create: Document) -> None:
    """Take out a label that only `labels` may set."""
    if LABEL in (create.get("Labels") or {}):
        del create["Labels"][LABEL]


def _canonical(key: str) -> str:
    port, protocol = split_key(key)
    return f"{port}/{protocol}"


def _bindings(places: Iterable[tuple[str, str, int | str]]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for key, ip, port in places:
        found.setdefault(key, []).append({"HostIp": ip, "HostPort": str(port)})
    return found


def _host_bindings(key: str, several: list[dict[str, str]], ends: HostEnds) -> list[dict[str, str]]:
    _, protocol = split_key(key)
    found = []
    for one in several:
        end = ends.get(Endpoint(protocol, one["HostIp"], int(one["HostPort"])))
        found.append({"HostIp": end.address or "0.0.0.0", "HostPort": str(end.port)} if end else one)
    return found
