"""Checking a container's bind mounts: whether the guest has the folders of the host that they name."""

from __future__ import annotations

import posixpath
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

from ...linux.nested_paths import within
from ..shares import Share, Shares
from .views import Document

# These always mean the guest's own folder; the others do if the guest has the named path.
_GUEST_FOLDERS = ("/dev", "/lib/modules", "/proc", "/sys", "/var/lib/docker")
_GUEST_FOLDERS_IF_PRESENT = ("/bin", "/boot", "/etc", "/lib", "/lib64", "/run", "/sbin", "/usr", "/var")
MAX_BINDS = 1000  # of one container
MAX_PATH = 4095  # bytes; the kernel's limit
_SHOWN = 200  # characters of a path in a message
_NO_AGENT = (
    "Mounts denied: the guest has no SSH agent of the host's. Name its socket in guest_ssh_agent in the inventory and "
    "run site.yml; the guest goes on running meanwhile"
)


class NotSharedError(Exception):
    """A folder is not shared with the guest; the message says how to share it."""


class BindPaths(Protocol):
    """What the host and the guest have at a path. Methods raise OSError, or ValueError for what cannot be a path."""

    async def real_paths(self, paths: Sequence[str]) -> Sequence[str]:
        """Return ``paths`` on the host with all links followed."""

    async def in_guest(self, path: str) -> bool:
        """Return whether the guest itself has ``path``."""

    async def why_not_same(self, path: str, share: Share, owner: int) -> str:
        """Return why ``path`` in ``share``, without links, differs between guest and host; empty if it does not."""


async def check(create: Document, shares: Shares, paths: BindPaths, sockets: Mapping[str, str]) -> None:
    """Replace the sources of bind mounts in a create request's body by their real paths on the host.

    ``sockets`` maps real paths of the host's sockets to those of their counterparts in the guest; an empty value means
    that the guest has none now. Raise NotSharedError for a source that is neither shared nor the guest's own, that is
    no path, or one of too many.
    """
    sources = list(islice(_bind_sources(create), MAX_BINDS + 1))
    if len(sources) > MAX_BINDS:
        raise NotSharedError(f"Mounts denied: a container has at most {MAX_BINDS} bind mounts of folders")
    normal = [_normal_path(source) for source, _ in sources]
    real_paths = await paths.real_paths(normal) if normal else ()
    for (source, set_source), path, real in zip(sources, normal, real_paths, strict=True):
        share = shares.holding(real)
        if real in sockets:
            if not (guest_socket := sockets[real]):
                raise NotSharedError(_NO_AGENT)
            set_source(source if guest_socket == real and await paths.in_guest(path) else guest_socket)
        elif share:
            if reason := await paths.why_not_same(real, share, shares.uid):
                raise NotSharedError(f"Mounts denied: the path {_shown(path)} is not in the guest: {reason}")
            set_source(source if real == path else real)
        elif shares.holding(path):
            raise NotSharedError(_denial(path, "leads, by a link, out of what is shared from the host", shares))
        elif not await _is_guests(path, paths.in_guest):
            raise NotSharedError(_denial(path, "is not shared from the host and is not known to the guest", shares))


def _normal_path(source: str) -> str:
    """Resolve ``.``, ``..`` and repeated slashes in a source; raise NotSharedError if it is too long for a path."""
    if len(source.encode(errors="surrogatepass")) > MAX_PATH:
        raise NotSharedError(f"Mounts denied: the path {_shown(source)} has more than {MAX_PATH} bytes")
    return posixpath.normpath("/" + source.lstrip("/"))


def _shown(path: str) -> str:
    return path if len(path) <= _SHOWN else f"{path[:_SHOWN]}…"


def may_be_the_guests(path: str) -> bool:
    """Return whether ``path`` lies where the guest has folders of its own."""
    return path == "/" or any(within(path, folder) for folder in (*_GUEST_FOLDERS, *_GUEST_FOLDERS_IF_PRESENT))


async def _is_guests(path: str, in_guest: Callable[[str], Awaitable[bool]]) -> bool:
    if path == "/" or any(within(path, folder) for folder in _GUEST_FOLDERS):
        return True
    return any(within(path, folder) for folder in _GUEST_FOLDERS_IF_PRESENT) and await in_guest(path)


def _denial(path: str, reason: str, shares: Shares) -> str:
    return (
        f"Mounts denied: the path {_shown(path)} {reason}. Name its folder in guest_shares in the inventory and run "
        f"site.yml; the guest goes on running meanwhile. Shared now: {shares}"
    )


def _bind_sources(create: Document) -> Iterator[tuple[str, Callable[[str], None]]]:
    """Yield each source that is a path, with a function that replaces it."""
    host_config = create.get("HostConfig") or {}
    binds: list[str] = host_config.get("Binds") or []
    for index, bind in enumerate(binds):
        source, colon, rest = bind.partition(":")
        if source.startswith("/") and colon:
            yield source, _setter(binds, index, f":{rest}")
    for mount in host_config.get("Mounts") or ():
        if mount.get("Type") == "bind" and str(mount.get("Source")).startswith("/"):
            yield mount["Source"], _setter(mount, "Source")


def _setter(parent: Any, key: int | str, suffix: str = "") -> Callable[[str], None]:
    """Return a function that sets ``parent[key]`` to a source with ``suffix``."""

    def set_source(source: str) -> None:
        parent[key] = source + suffix

    return set_source
