"""What the engine says of its containers, read from its list. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .publications import Published, read_labels
from .views import guest_ends

PROXY_LABEL = "io.portchain.proxy-protocol"
_WITHOUT_PORTS = ("created", "exited", "dead", "removing")


@dataclass(frozen=True)
class Container:
    """A container. It ``keeps`` its publications in its labels; those that are ``live`` are to be listened for.

    ``proxy`` is the version of the PROXY protocol that its container ports want, by key: ``{"80/tcp": "v2"}``.
    """

    id: str
    name: str
    keeps: tuple[Published, ...]
    live: tuple[Published, ...]
    proxy: tuple[tuple[str, str], ...] = ()
    host_network: bool = False


def read_row(row: Mapping[str, Any]) -> Container:
    """Read one row of the engine's list of containers."""
    keeps = tuple(read_labels(row.get("Labels")))
    state = str(row.get("State"))
    mode = str((row.get("HostConfig") or {}).get("NetworkMode"))
    return Container(
        id=str(row["Id"]),
        name=(row.get("Names") or [f"/{row['Id'][:12]}"])[0].lstrip("/"),
        keeps=keeps,
        live=() if state in _WITHOUT_PORTS else _live(dict(row), keeps, state),
        proxy=_proxy(row.get("Labels") or {}),
        host_network=mode == "host" and state not in _WITHOUT_PORTS,
    )


def from_inspect(document: Mapping[str, Any]) -> Container:
    """Read what the engine tells of one container, as it is to be when it runs."""
    labels = (document.get("Config") or {}).get("Labels") or {}
    keeps = tuple(read_labels(labels))
    return Container(str(document["Id"]), str(document["Name"]).lstrip("/"), keeps, keeps, _proxy(labels))


def _live(row: dict[str, Any], keeps: Iterable[Published], state: str) -> tuple[Published, ...]:
    """What the engine leads to the container now. Between two runs it leads nothing there, but will in a moment."""
    if state == "restarting":
        return tuple(keeps)
    ends = guest_ends(row)
    known = {one.guest for one in keeps}
    foreign = (
        Published(port["PrivatePort"], port["Type"], port.get("IP", ""), str(port["PublicPort"]), end)
        for end, port in sorted(ends.items())
        if end not in known
    )
    return (*(one for one in keeps if one.guest in ends), *foreign)


def _proxy(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """From the labels ``io.portchain.proxy-protocol/80/tcp``."""
    prefix = f"{PROXY_LABEL}/"
    return tuple(sorted((key.removeprefix(prefix), text) for key, text in labels.items() if key.startswith(prefix)))
