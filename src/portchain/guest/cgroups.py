"""The guest's control groups: one per hierarchy below the supervisor's own, limits set, handed to the guest's root."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

_DELEGATED = ("cgroup.procs", "tasks", "cgroup.subtree_control", "cgroup.threads")
# Docker's own default list for containers, and the two nodes a guest is given besides.
_DEVICES = (
    *("c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm"),
    *("c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm", "c 10:200 rwm", "c 10:229 rwm"),
)


@dataclass(frozen=True)
class Hierarchy:
    """A mounted cgroup hierarchy. ``controllers`` is empty for cgroup2; ``own`` is the caller's group in it."""

    mountpoint: Path
    controllers: tuple[str, ...]
    unified: bool
    own: str

    def group(self, name: str) -> Path:
        """The folder of the group ``name`` below the caller's own."""
        return self.mountpoint / self.own.lstrip("/") / name

    @property
    def options(self) -> str:
        """The mount options that bring this v1 hierarchy up again."""
        return ",".join(f"none,{c}" if c.startswith("name=") else c for c in self.controllers)


def hierarchies(mountinfo: str, cgroup: str) -> list[Hierarchy]:
    """Every hierarchy, from the texts of /proc/self/mountinfo and /proc/self/cgroup."""
    own = {controllers: path for _, controllers, path in (line.split(":", 2) for line in cgroup.splitlines())}
    found: dict[str, Hierarchy] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        mountpoint = Path(left.split()[4])
        fstype, _, options = right.split(maxsplit=2)
        if fstype == "cgroup2":
            found.setdefault("", Hierarchy(mountpoint, (), True, own.get("", "/")))
        elif fstype == "cgroup":
            for key, path in own.items():
                if key and set(key.split(",")) <= set(options.split(",")):
                    found.setdefault(key, Hierarchy(mountpoint, tuple(key.split(",")), False, path))
    return list(found.values())


def own_hierarchies() -> list[Hierarchy]:
    """Every hierarchy, as the calling process sees them."""
    return hierarchies(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())


def limit_memory(found: list[Hierarchy]) -> bool:
    """Whether groups of the hierarchies ``found`` can have a memory limit."""
    unified = [h.mountpoint / "cgroup.controllers" for h in found if h.unified]
    return any("memory" in h.controllers for h in found) or any(
        "memory" in path.read_text().split() for path in unified if path.exists()
    )


@dataclass(frozen=True)
class Limits:
    """What a guest may use: bytes of memory, processors, processes."""

    memory: int
    cpus: float
    pids: int

    def files(self, hierarchy: Hierarchy) -> dict[str, str]:
        """The limit files of ``hierarchy`` and what to write into them."""
        period = 100_000
        quota = int(self.cpus * period)
        v1 = {
            "memory": {"memory.use_hierarchy": "1", "memory.limit_in_bytes": str(self.memory)},
            "cpu": {"cpu.cfs_period_us": str(period), "cpu.cfs_quota_us": str(quota)},
            "pids": {"pids.max": str(self.pids)},
        }
        v2 = {"memory.max": str(self.memory), "cpu.max": f"{quota} {period}", "pids.max": str(self.pids)}
        if hierarchy.unified:
            return v2
        return {name: value for c in hierarchy.controllers for name, value in v1.get(c, {}).items()}


class GuestGroups:
    """The groups of one guest over all hierarchies."""

    def __init__(self, name: str, found: list[Hierarchy]) -> None:
        self._name = f"portchain-{name}"
        self._hierarchies = found

    @property
    def paths(self) -> list[Path]:
        """The folders, one a hierarchy."""
        return [h.group(self._name) for h in self._hierarchies]

    def create(self, limits: Limits, owner: int) -> None:
        """Make the groups, set ``limits`` on them, delegate them to the user ``owner``. The limits stay root's."""
        for hierarchy in self._hierarchies:
            group = hierarchy.group(self._name)
            if hierarchy.unified:
                self._enable_controllers(group.parent)
            group.mkdir(exist_ok=True)
            if "cpuset" in hierarchy.controllers:
                for name in ("cpuset.cpus", "cpuset.mems"):
                    (group / name).write_text((group.parent / name).read_text())
            for name, value in limits.files(hierarchy).items():
                if (group / name).exists():
                    (group / name).write_text(value)
            if "devices" in hierarchy.controllers:
                self._limit_devices(group)
            self._delegate(group, owner)

    def _enable_controllers(self, parent: Path) -> None:
        available = (parent / "cgroup.controllers").read_text().split()
        wanted = [c for c in ("cpu", "cpuset", "io", "memory", "pids") if c in available]
        if not wanted:
            return
        if parent != next(h.mountpoint for h in self._hierarchies if h.unified):
            aside = parent / f"{self._name}-supervisor"
            aside.mkdir(exist_ok=True)
            (aside / "cgroup.procs").write_text("0")
        (parent / "cgroup.subtree_control").write_text(" ".join(f"+{c}" for c in wanted))

    @staticmethod
    def _limit_devices(group: Path) -> None:
        (group / "devices.deny").write_text("a")
        for rule in _DEVICES:
            (group / "devices.allow").write_text(rule)

    @staticmethod
    def _delegate(group: Path, owner: int) -> None:
        os.chown(group, owner, owner)
        for name in _DELEGATED:
            with contextlib.suppress(FileNotFoundError):
                os.chown(group / name, owner, owner)

    def join(self) -> None:
        """Move the calling process into the groups."""
        for group in self.paths:
            (group / "cgroup.procs").write_text("0")

    def remove(self, deadline: float = 5.0) -> None:
        """Remove the groups and what is below them once empty; TimeoutError after ``deadline`` seconds."""
        for group in self.paths:
            remove_tree(group, deadline)


def remove_tree(group: Path, deadline: float) -> None:
    """Remove the empty group ``group`` and the groups below it, waiting ``deadline`` seconds for it to be empty."""
    end = time.monotonic() + deadline
    while group.exists():
        for folder in sorted((p for p in group.rglob("*") if p.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        with contextlib.suppress(OSError):
            group.rmdir()
            return
        if time.monotonic() > end:
            raise TimeoutError(f"host: control group {group} still has processes after {deadline} s")
        time.sleep(0.02)


def memory_in_use(paths: list[Path]) -> int | None:
    """Bytes in use by the groups at ``paths`` but for file pages that the kernel may drop, as docker stats counts.

    None where no memory controller is among them.
    """
    for group in paths:
        for usage, droppable in (("memory.usage_in_bytes", "total_inactive_file"), ("memory.current", "inactive_file")):
            with contextlib.suppress(OSError):
                in_use = int((group / usage).read_text())
                stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                return max(0, in_use - int(stat.get(droppable, 0)))
    return None
