"""Run a program in a control group of its own with a memory limit, where no service manager does so.

``python3 -m portchain.linux.memory_limit GROUP BYTES PROGRAM ARGUMENT…`` becomes the program. If it takes more memory,
the kernel kills it. The group's folder is written to the file ``group`` in the current directory.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from .control_groups import Hierarchy, own_hierarchies

GROUP_FILE = "group"
_FILES = {True: ("memory.max", "memory.swap.max"), False: ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")}


def join(name: str, limit: int, hierarchies: list[Hierarchy]) -> Path | None:
    """Move the calling process into the group ``name`` with a limit in bytes, swap included; return its folder.

    It is made below the caller's own group, or else below the root, which may have processes beside groups in cgroup
    v2. Return None if there is no memory controller for it.
    """
    for hierarchy, parent in _parents(hierarchies):
        group = parent / name
        most, with_swap = _FILES[hierarchy.unified]
        with contextlib.suppress(OSError):
            if hierarchy.unified:
                (parent / "cgroup.subtree_control").write_text("+memory")
            group.mkdir(exist_ok=True)
            (group / most).write_text(str(limit))
            with contextlib.suppress(OSError):  # a kernel that does not count swap
                (group / with_swap).write_text("0" if hierarchy.unified else str(limit))
            (group / "cgroup.procs").write_text("0")
            return group
    return None


def _parents(hierarchies: list[Hierarchy]) -> Iterator[tuple[Hierarchy, Path]]:
    for hierarchy in hierarchies:
        if "memory" in hierarchy.controllers:
            yield hierarchy, hierarchy.group("")
        elif hierarchy.unified:
            yield hierarchy, hierarchy.group("")
            yield hierarchy, hierarchy.mountpoint


def main() -> None:
    """Join the group and become the program."""
    _, name, limit, *argv = sys.argv
    if group := join(name, int(limit), own_hierarchies()):
        Path(GROUP_FILE).write_text(f"{group}\n")
    else:
        print(f"host: no control group of {name} can have a memory limit: it runs without one", flush=True)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main()
