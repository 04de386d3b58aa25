"""Records of containers from before the host kept a file of them: they were kept in the containers' labels. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...ports.forward import Endpoint
from .publications import ContainerPublication
from .records import Record

LABEL = "io.portchain.ports"
PROXY_LABEL = "io.portchain.proxy-protocol/"


def read_earlier_record(document: Mapping[str, Any], chosen: Mapping[str, Any]) -> Record | None:
    """Read the record of an inspected container from its label; ``chosen`` are its host ports by guest endpoint.

    Return None if the label does not fit the container's bindings: an image may have set such a label, but no bindings.
    """
    labels: Mapping[str, str] = (document.get("Config") or {}).get("Labels") or {}
    try:
        published = [_read_row(row) for row in json.loads(labels.get(LABEL, ""))]
        ports = {str(guest): int(port) for guest, port in chosen.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    bindings = (document.get("HostConfig") or {}).get("PortBindings") or {}
    bound = {
        (key, binding["HostIp"], binding["HostPort"]) for key, values in bindings.items() for binding in values or ()
    }
    labelled = {(row.key, row.guest.address, str(row.guest.port)) for row in published}
    if not labelled or not labelled <= bound:
        return None
    proxy = {key.removeprefix(PROXY_LABEL): labels[key] for key in labels if key.startswith(PROXY_LABEL)}
    return Record(tuple(published), proxy, ports)


def _read_row(row: list[Any]) -> ContainerPublication:
    """Read a row of the label; raise ValueError, TypeError or AttributeError."""
    key, ip, port, guest_ip, guest_port, *rest = row
    guest = Endpoint.parse(f"{key.partition('/')[2]}:{guest_ip}:{guest_port}")
    publication = ContainerPublication.of(key, ip, port, guest, bool(rest and rest[0]))
    if publication is None:
        raise ValueError(f"{key}: not forwarded")
    return publication
