"""Bind the guest's shares at their own paths in the docker service, where dockerd looks for what is mounted.

The supervisor's mounts come and go below `SHARES`, which the service has from the guest.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ....linux import syscalls
from ....linux.nested_paths import within
from ....linuxkit.paths import SHARES

_TABLE = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(r"\\([0-7]{3})")


def mount_points(table: str) -> list[str]:
    """Return the mount points in a table of the form of /proc/self/mountinfo.

    The table's text is its bytes, one character each (latin-1).
    """
    raw = [
        _ESCAPE.sub(lambda digits: chr(int(digits[1], 8)), line.split(" ")[4]) for line in table.strip("\n").split("\n")
    ]
    return [point.encode("latin-1").decode(errors="surrogateescape") for point in raw]


@dataclass(frozen=True)
class _ShareMount:
    """A share's mount and its id, which no other mount gets while ``descriptor`` is open."""

    mount: str
    descriptor: int

    @classmethod
    def at(cls, point: str) -> _ShareMount:
        """Return the mount that is at ``point`` now; raise OSError."""
        descriptor = os.open(point, os.O_PATH)
        details = Path(f"/proc/self/fdinfo/{descriptor}").read_text().split()
        return cls(details[details.index("mnt_id:") + 1], descriptor)


class ShareBinds:
    """Binds each share to its path while it is shared; containers keep what they have mounted."""

    def __init__(self) -> None:
        self._bound: dict[str, _ShareMount] = {}

    def follow(self) -> None:
        """Bind the present shares, then follow changes in the background."""
        table = _TABLE.open("rb")
        self._update(table.read().decode("latin-1"))
        threading.Thread(target=self._watch, args=(table,), daemon=True).start()

    def _watch(self, table: object) -> None:
        poll = select.poll()
        poll.register(table, select.POLLPRI)  # type: ignore[arg-type]
        while True:
            poll.poll()
            self._update(_TABLE.read_text("latin-1"))

    def _update(self, table: str) -> None:
        """Unbind and bind again the shares that have changed, and those within them."""
        shares = dict(_shares(table))
        paths = sorted(self._bound.keys() | shares.keys())
        changed = [path for path in paths if not _is_same_mount(self._bound.get(path), shares.get(path))]
        affected = [path for path in paths if any(within(path, outer) for outer in changed)]
        for path in reversed(affected):
            if before := self._bound.pop(path, None):
                os.close(before.descriptor)
                with contextlib.suppress(OSError):
                    syscalls.unmount(Path(path))
                    _remove(Path(path))
        for path, share in shares.items():
            if path not in affected:
                os.close(share.descriptor)
                continue
            self._bound[path] = share
            try:
                _bind(f"/proc/self/fd/{share.descriptor}", Path(path))
            except OSError as error:
                message = f"lifecycle-server: {path} cannot be shared with containers: {error}"
                print(message, file=sys.stderr, flush=True)


def _shares(table: str) -> Iterator[tuple[str, _ShareMount]]:
    """Yield each share's path and mount, outer ones before those within them."""
    for point in sorted(set(mount_points(table))):
        if point.startswith(f"{SHARES}/"):
            with contextlib.suppress(OSError):  # the mount is gone by now
                yield point.removeprefix(SHARES), _ShareMount.at(point)


def _is_same_mount(first: _ShareMount | None, second: _ShareMount | None) -> bool:
    return first is not None and second is not None and first.mount == second.mount


def _bind(source: str, target: Path) -> None:
    """Bind ``source`` in a peer group of its own, so that a share within it is mounted once, by its own bind."""
    target.mkdir(parents=True, exist_ok=True)
    syscalls.mount(source, target, "", syscalls.MS_BIND)
    for propagation in (syscalls.MS_PRIVATE, syscalls.MS_SHARED):
        syscalls.mount("none", target, "", propagation)


def _remove(folder: Path) -> None:
    """Remove a folder that was made as a mount point, unless it is within another share and so the host's."""
    if folder.stat().st_dev == Path("/").stat().st_dev:
        folder.rmdir()
