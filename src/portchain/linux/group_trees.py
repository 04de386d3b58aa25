"""Remove trees of control groups that a guest made, whatever their depth and names: they are walked by descriptors."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def thaw(group: Path) -> None:
    """Thaw ``group`` and all below it, if they are groups of cgroup v1's freezer, whose processes cannot be killed."""
    with contextlib.suppress(FileNotFoundError):
        _walk(group, _thaw, lambda _name, _parent: None)


def kill(group: Path) -> None:
    """Kill the processes of ``group`` itself, such as those of a daemon whose supervisor was killed."""
    with contextlib.suppress(FileNotFoundError):
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def remove_trees(groups: Collection[Path], patience: float) -> None:
    """Remove ``groups`` and all below them once their processes have ended; what is frozen is thawed for that.

    Raise TimeoutError if nothing could be removed for ``patience`` seconds.
    """
    left = list(groups)
    end = time.monotonic() + patience
    while True:
        removed = 0
        for group in list(left):
            removed += _remove_empty(group)
            if not group.exists():
                left.remove(group)
        if not left:
            return
        if removed:
            end = time.monotonic() + patience
        if time.monotonic() > end:
            raise TimeoutError(f"host: control group {left[0]} still has processes after {patience} s")
        time.sleep(0.02)


def _remove_empty(group: Path) -> int:
    """Remove all groups of a tree that can be removed now; return how many."""
    removed = 0

    def remove(name: str, parent: int) -> None:
        nonlocal removed
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=parent)
            removed += 1

    with contextlib.suppress(FileNotFoundError):
        _walk(group, _thaw, remove)
    with contextlib.suppress(OSError):
        group.rmdir()
        removed += 1
    return removed


def _thaw(group: int) -> None:
    with contextlib.suppress(OSError):
        state = os.open("freezer.state", os.O_WRONLY | os.O_CLOEXEC, dir_fd=group)
        try:
            os.write(state, b"THAWED")
        finally:
            os.close(state)


def _walk(top: Path, enter: Callable[[int], None], leave: Callable[[str, int], None]) -> None:
    """Call ``enter`` with a descriptor of each folder, outer ones first; ``leave`` with the name and parent of each.

    ``leave`` comes after all below a folder was left, and not for ``top``. Only one folder is open at a time.
    """
    here = os.open(top, _FOLDER)
    try:
        enter(here)
        path = [("", _folders(here))]
        while path:
            name, unvisited = path[-1]
            if unvisited:
                name = unvisited.pop()
                try:
                    here = _replace(here, name)
                except FileNotFoundError:
                    continue
                enter(here)
                path.append((name, _folders(here)))
            else:
                path.pop()
                if path:
                    here = _replace(here, "..")
                    leave(name, here)
    finally:
        os.close(here)


def _replace(folder: int, name: str) -> int:
    """Open ``name`` from ``folder``, which is closed, and return it."""
    opened = os.open(name, _FOLDER, dir_fd=folder)
    os.close(folder)
    return opened


def _folders(folder: int) -> list[str]:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return []
