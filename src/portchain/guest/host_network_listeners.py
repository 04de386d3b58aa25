"""The listeners of containers in host network mode, in the guest's own network."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Set
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..net.listening_sockets import inodes_of
from ..net.socket_diagnostics import list_listeners
from ..ports.forward import Endpoint

_CONTAINER = re.compile(r"/docker[/-]([0-9a-f]{64})")
_PROC = Path("/proc")
# A daemon that goes into the background changes its process during the search for it.
_MAX_SEARCHES = 3


def container_of(cgroups: str) -> str | None:
    """Return the id of the engine's container of a process, given its /proc/PID/cgroup; None if it is in none.

    The outermost container is meant, where one runs in another.
    """
    match = _CONTAINER.search(cgroups)
    return match[1] if match else None


class HostNetworkListeners:
    """The listeners whose containers are known. Processes are searched only when there is a new listener."""

    def __init__(self, proc: Path = _PROC, list_sockets: Callable[[], dict[int, Endpoint]] = list_listeners) -> None:
        self._proc = proc
        self._list_sockets = list_sockets
        self._owners: dict[int, str] = {}
        self._searches: dict[int, int] = {}
        self._lock = threading.Lock()

    def rows(self) -> list[dict[str, Any]]:
        """Return ``protocol``, ``address``, ``port`` and ``container`` of each listener, sorted; raise OSError."""
        with self._lock:
            listeners = self._list_sockets()
            self._find_owners(listeners.keys())
            owned = {(listeners[inode], container) for inode, container in self._owners.items()}
        return [{**asdict(endpoint), "container": container} for endpoint, container in sorted(owned)]

    def _find_owners(self, inodes: Set[int]) -> None:
        searches = {inode: self._searches.get(inode, 0) for inode in inodes}
        new = {inode for inode, count in searches.items() if count < _MAX_SEARCHES and inode not in self._owners}
        self._searches = {inode: count + (inode in new) for inode, count in searches.items()}
        self._owners = {inode: owner for inode, owner in self._owners.items() if inode in inodes}
        if new:
            self._owners |= dict(self._search(new))

    def _search(self, inodes: set[int]) -> Iterator[tuple[int, str]]:
        own = (self._proc / "self/ns/net").stat()
        for process in self._proc.glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                container = container_of((process / "cgroup").read_text())
                if container and os.path.samestat((process / "ns/net").stat(), own):
                    yield from ((inode, container) for inode in inodes_of(process) & inodes)
