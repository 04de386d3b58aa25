"""Has the docker service see the guest's shares at their own paths, where dockerd looks for what is mounted.

The supervisor's mounts come and go below `SHARES`, which the service has from the guest.
"""

from __future__ import annotations

import contextlib
import re
import select
import sys
import threading
from pathlib import Path

from .. import kernel
from ..places import SHARES

_TABLE = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(r"\\([0-7]{3})")


def mounted(table: str) -> set[str]:
    """Where the mounts of a table in the form of /proc/self/mountinfo are."""
    points = (line.split()[4] for line in table.splitlines())
    raw = (_ESCAPE.sub(lambda found: chr(int(found[1], 8)), point) for point in points)
    return {point.encode("latin-1", "surrogateescape").decode(errors="surrogateescape") for point in raw}


class ShareBinds:
    """Binds each share to its path, and takes it away when it is no longer one; containers keep what they have."""

    def __init__(self) -> None:
        self._bound: set[str] = set()

    def follow(self) -> None:
        """Bind what is shared, then whatever is shared later, in the background."""
        table = _TABLE.open("rb")
        self._keep(table.read().decode("latin-1"))
        threading.Thread(target=self._watch, args=(table,), daemon=True).start()

    def _watch(self, table: object) -> None:
        poll = select.poll()
        poll.register(table, select.POLLPRI)  # type: ignore[arg-type]
        while True:
            poll.poll()
            self._keep(_TABLE.read_text("latin-1"))

    def _keep(self, table: str) -> None:
        there = {point.removeprefix(SHARES) for point in mounted(table) if point.startswith(f"{SHARES}/")}
        for path in self._bound - there:
            with contextlib.suppress(OSError):
                kernel.unmount(Path(path))
                Path(path).rmdir()
            self._bound.discard(path)
        for path in there - self._bound:
            self._bound.add(path)
            try:
                Path(path).mkdir(parents=True, exist_ok=True)
                kernel.mount(SHARES + path, Path(path), "", kernel.MS_BIND)
            except OSError as error:
                print(f"lifecycle-server: {path} is not shared with containers: {error}", file=sys.stderr, flush=True)
