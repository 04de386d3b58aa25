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


def mounted(table: str) -> dict[str, str]:
    """Where the shared mounts of a table in the form of /proc/self/mountinfo are, each with its peer group.

    The table's text is its bytes, one character each (latin-1).
    """
    found = {}
    for line in table.strip("\n").split("\n"):
        words = line.split(" ")
        point = _ESCAPE.sub(lambda digits: chr(int(digits[1], 8)), words[4])
        for word in words[6 : words.index("-")]:
            if word.startswith("shared:"):
                found[point.encode("latin-1").decode(errors="surrogateescape")] = word
    return found


class ShareBinds:
    """Binds each share to its path, and takes it away when it is no longer one; containers keep what they have."""

    def __init__(self) -> None:
        self._bound: dict[str, str] = {}

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
        """A share that is another than before is in another peer group: what is bound keeps the old one in use."""
        groups = mounted(table).items()
        there = {point.removeprefix(SHARES): group for point, group in groups if point.startswith(f"{SHARES}/")}
        for path, _ in self._bound.items() - there.items():
            del self._bound[path]
            with contextlib.suppress(OSError):
                kernel.unmount(Path(path))
                Path(path).rmdir()
        for path, group in there.items() - self._bound.items():
            self._bound[path] = group
            try:
                Path(path).mkdir(parents=True, exist_ok=True)
                kernel.mount(SHARES + path, Path(path), "", kernel.MS_BIND)
            except OSError as error:
                print(f"lifecycle-server: {path} is not shared with containers: {error}", file=sys.stderr, flush=True)
