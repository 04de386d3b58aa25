"""Folders of the host that a container is to have: whether the guest has them. Pure, but for what is handed in."""

from __future__ import annotations

import posixpath
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from ..guest.shares import Shares, within
from .views import Document

# Of the guest, not of the host, whether they are there or not; and where the guest has what is named.
_GUESTS = ("/dev", "/lib/modules", "/proc", "/sys", "/var/lib/docker")
_GUESTS_IF_THERE = ("/bin", "/boot", "/etc", "/lib", "/lib64", "/run", "/sbin", "/usr", "/var")


class NotSharedError(Exception):
    """A folder that the guest does not have; the message says how to share it."""


async def check(
    create: Document, shares: Shares, real_path: Callable[[str], str], known: Callable[[str], Awaitable[bool]]
) -> None:
    """Have the sources in the body of a create be their ``real_path`` on the host where that is shared.

    ``known`` tells whether the guest itself has a path. Raise NotSharedError where neither is so.
    """
    for source, replace in _sources(create):
        path = posixpath.normpath("/" + source.lstrip("/"))
        real = real_path(path)
        if shares.has(real):
            replace(source if real == path else real)
        elif shares.has(path):
            raise NotSharedError(_denied(path, "leads, by a link, out of what is shared from the host", shares))
        elif not await _guests(path, known):
            raise NotSharedError(_denied(path, "is not shared from the host and is not known to the guest", shares))


async def _guests(path: str, known: Callable[[str], Awaitable[bool]]) -> bool:
    if path == "/" or any(within(path, own) for own in _GUESTS):
        return True
    return any(within(path, own) for own in _GUESTS_IF_THERE) and await known(path)


def _denied(path: str, why: str, shares: Shares) -> str:
    return (
        f"Mounts denied: the path {path} {why}. Name its folder in guest_shares in the inventory and run site.yml; "
        f"the guest goes on running meanwhile. Shared now: {shares}"
    )


def _sources(create: Document) -> Iterator[tuple[str, Callable[[str], None]]]:
    """Each source that is a path, and what puts another in its place."""
    host_config = create.get("HostConfig") or {}
    binds: list[str] = host_config.get("Binds") or []
    for index, bind in enumerate(binds):
        source, colon, rest = bind.partition(":")
        if source.startswith("/") and colon:
            yield source, _setter(binds, index, f":{rest}")
    for mount in host_config.get("Mounts") or ():
        if mount.get("Type") == "bind" and str(mount.get("Source")).startswith("/"):
            yield mount["Source"], _setter(mount, "Source")


def _setter(holder: Any, key: int | str, rest: str = "") -> Callable[[str], None]:
    def put(source: str) -> None:
        holder[key] = source + rest

    return put
