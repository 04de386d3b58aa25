"""The guest's control groups, one per hierarchy: made below the supervisor's own, limited, delegated to the guest."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import group_trees

# The names in memory.stat of cgroup v1, and those of v2. In v1, the sums over all groups below have the prefix total_.
_V1_STAT_NAMES = {
    **{"cache": "file", "rss": "anon", "mapped_file": "file_mapped"},
    **{"dirty": "file_dirty", "writeback": "file_writeback"},
}
_DELEGATED_FILES = ("cgroup.procs", "tasks", "cgroup.subtree_control", "cgroup.threads")
# The time to make or remove a group of cgroup v2 grows with its depth. In v1, groups cost the guest's memory only.
_MOST_GROUPS = {"cgroup.max.depth": 64, "cgroup.max.descendants": 20_000}
# Docker's own default list for containers, and /dev/net/tun and /dev/fuse.
_ALLOWED_DEVICES = (
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
        """Return the folder of the group ``name`` below the caller's own."""
        return self.mountpoint / self.own.lstrip("/") / name

    @property
    def options(self) -> str:
        """The mount options with which this v1 hierarchy is mounted again."""
        return ",".join(f"none,{name}" if name.startswith("name=") else name for name in self.controllers)


def parse_hierarchies(mountinfo: str, cgroup: str) -> list[Hierarchy]:
    """Return every hierarchy, given the texts of /proc/self/mountinfo and /proc/self/cgroup."""
    own = {controllers: path for _, controllers, path in (line.split(":", 2) for line in cgroup.splitlines())}
    hierarchies: dict[str, Hierarchy] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        mountpoint = Path(left.split()[4])
        fstype, _, options = right.split(maxsplit=2)
        if fstype == "cgroup2":
            hierarchies.setdefault("", Hierarchy(mountpoint, (), True, own.get("", "/")))
        elif fstype == "cgroup":
            for key, path in own.items():
                if key and set(key.split(",")) <= set(options.split(",")):
                    hierarchies.setdefault(key, Hierarchy(mountpoint, tuple(key.split(",")), False, path))
    return list(hierarchies.values())


def own_hierarchies() -> list[Hierarchy]:
    """Return every hierarchy, as the calling process sees them."""
    return parse_hierarchies(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())


def can_limit_memory(hierarchies: list[Hierarchy]) -> bool:
    """Return whether groups of ``hierarchies`` can have a memory limit."""
    if any("memory" in hierarchy.controllers for hierarchy in hierarchies):
        return True
    files = [hierarchy.mountpoint / "cgroup.controllers" for hierarchy in hierarchies if hierarchy.unified]
    return any("memory" in path.read_text().split() for path in files if path.exists())


@dataclass(frozen=True)
class Limits:
    """Limits on a guest: bytes of memory, processors, number of processes."""

    memory: int
    cpus: float
    pids: int

    def files(self, hierarchy: Hierarchy) -> dict[str, str]:
        """Return the limit files of ``hierarchy`` and what to write into them."""
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
        return {name: value for controller in hierarchy.controllers for name, value in v1.get(controller, {}).items()}


class GuestGroups:
    """The groups of one guest in all hierarchies."""

    def __init__(self, name: str, hierarchies: list[Hierarchy]) -> None:
        self._name = f"portchain-{name}"
        self._hierarchies = hierarchies

    @property
    def paths(self) -> list[Path]:
        """The folders of the groups, one a hierarchy."""
        return [hierarchy.group(self._name) for hierarchy in self._hierarchies]

    def create(self, limits: Limits, owner: int) -> None:
        """Make the groups, set ``limits`` and delegate the groups to the user ``owner``, but not the limits."""
        for hierarchy in self._hierarchies:
            group = hierarchy.group(self._name)
            if hierarchy.unified:
                self._enable_controllers(group.parent)
            group.mkdir(exist_ok=True)
            if hierarchy.unified:
                self._limit_groups(group)
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
        wanted = [name for name in ("cpu", "cpuset", "io", "memory", "pids") if name in available]
        if not wanted:
            return
        if parent != next(hierarchy.mountpoint for hierarchy in self._hierarchies if hierarchy.unified):
            # A group with processes cannot have controllers enabled for the groups below it.
            own_group = parent / f"{self._name}-supervisor"
            own_group.mkdir(exist_ok=True)
            (own_group / "cgroup.procs").write_text("0")
        (parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in wanted))

    @staticmethod
    def _limit_groups(group: Path) -> None:
        for name, value in _MOST_GROUPS.items():
            (group / name).write_text(str(value))

    @staticmethod
    def _limit_devices(group: Path) -> None:
        (group / "devices.deny").write_text("a")
        for rule in _ALLOWED_DEVICES:
            (group / "devices.allow").write_text(rule)

    @staticmethod
    def _delegate(group: Path, owner: int) -> None:
        os.chown(group, owner, owner)
        for name in _DELEGATED_FILES:
            with contextlib.suppress(FileNotFoundError):
                os.chown(group / name, owner, owner)

    def join(self) -> None:
        """Move the calling process into the groups."""
        for group in self.paths:
            (group / "cgroup.procs").write_text("0")

    def thaw(self) -> None:
        """Thaw the guest's processes, so that they can be killed; in cgroup v2, frozen processes can be killed, too."""
        for hierarchy in self._hierarchies:
            if "freezer" in hierarchy.controllers:
                group_trees.thaw(hierarchy.group(self._name))

    def remove(self, patience: float = 5.0) -> None:
        """Remove the groups and all below them once they are empty; raise TimeoutError as `remove_trees` does."""
        group_trees.remove_trees(self.paths, patience)


@dataclass(frozen=True)
class Memory:
    """The memory of a group, in bytes; ``stat`` has the names of cgroup v2's memory.stat."""

    limit: int
    usage: int
    stat: Mapping[str, int]


def read_memory(paths: list[Path]) -> Memory | None:
    """Read the memory of the first group of ``paths`` with a memory controller; None if there is none."""
    for group in paths:
        for limit_file, usage_file, v2_names in (
            ("memory.limit_in_bytes", "memory.usage_in_bytes", _V1_STAT_NAMES),
            ("memory.max", "memory.current", {}),
        ):
            with contextlib.suppress(OSError):
                limit = (group / limit_file).read_text().strip()
                stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                numbers = {
                    name.removeprefix("total_") if v2_names else name: int(value) for name, value in stat.items()
                }
                return Memory(
                    sys.maxsize if limit == "max" else int(limit),
                    int((group / usage_file).read_text()),
                    {v2_names.get(name, name): value for name, value in numbers.items()},
                )
    return None


def memory_in_use(paths: list[Path]) -> int | None:
    """Return the bytes in use as docker stats counts them: without file pages that the kernel may drop.

    ``paths`` are groups, the first with a memory controller counts; None if there is none.
    """
    memory = read_memory(paths)
    return max(0, memory.usage - memory.stat.get("inactive_file", 0)) if memory else None
