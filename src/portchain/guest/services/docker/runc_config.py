"""Rewrite what containers ask of runc so that a user namespace allows it; see docs/reference/limits.md.

Usage: as runc. It changes the bundle's config.json, or the process.json of an exec, then runs runc.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import resource
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ....linux import atomic_files

RUNC = "/usr/sbin/runc"
MEMINFO = "/etc/portchain/shown/meminfo"
_FILES = {"--bundle": "config.json", "--process": ""}
_UNLIMITED = 2**64 - 1
# What --privileged gives if the engine is not in a user namespace.
_PRIVILEGED_NODES = ("/dev/fuse", "/dev/net/tun")
_DOMAINNAME = "kernel.domainname"

Json = dict[str, Any]
Node = tuple[bool, int, int]


class Bounds(NamedTuple):
    """The limits of this guest: hard limits by their OCI names, the least OOM score, device nodes by path.

    ``meminfo`` says whether there is a file that shows the guest's memory.
    """

    hard: Mapping[str, int]
    oom_score: int
    nodes: Mapping[str, Node]
    meminfo: bool

    @classmethod
    def of_process(cls) -> Bounds:
        """Return those of this process and its /dev."""
        names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
        hard = {name: resource.getrlimit(getattr(resource, name))[1] for name in names}
        score = int(Path("/proc/self/oom_score_adj").read_text())
        paths = [path for folder in ("/dev", "/dev/net") for path in Path(folder).iterdir() if not path.is_symlink()]
        nodes = {str(path): node for path in paths if (node := _node(path))}
        hard = {name: _UNLIMITED if value < 0 else value for name, value in hard.items()}
        return cls(hard, score, nodes, Path(MEMINFO).exists())


def _node(path: Path) -> Node | None:
    status = path.stat()
    device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
    return (stat.S_ISBLK(status.st_mode), os.major(status.st_rdev), os.minor(status.st_rdev)) if device else None


def adapt_process(process: Json, bounds: Bounds) -> None:
    """Lower limits to the guest's, which nobody in it may exceed, and raise the OOM score to at least the guest's."""
    for limit in process.get("rlimits") or ():
        limit["hard"] = min(limit["hard"], bounds.hard.get(limit["type"], _UNLIMITED))
        limit["soft"] = min(limit["soft"], limit["hard"])
    if "oomScoreAdj" in process:
        process["oomScoreAdj"] = max(process["oomScoreAdj"], bounds.oom_score)


def adapt(config: Json, bounds: Bounds) -> None:
    """Change a container's configuration so that it asks for nothing that is refused in the guest."""
    adapt_process(config.get("process", {}), bounds)
    linux = config.setdefault("linux", {})
    mounts = config.setdefault("mounts", [])
    capabilities = config.get("process", {}).get("capabilities") or {}
    _set_domain_name(config, linux)
    if not linux.get("maskedPaths") and "CAP_SYS_ADMIN" in (capabilities.get("bounding") or ()):
        _give_nodes(linux, bounds)
    _bind_devices(linux, mounts, bounds)
    if bounds.meminfo:
        _show_memory(linux, mounts)


def _set_domain_name(config: Json, linux: Json) -> None:
    """Set the domain name by a hook: as a sysctl, only the host's root may write it."""
    name = (linux.get("sysctl") or {}).pop(_DOMAINNAME, None)
    if name:
        hooks = config.setdefault("hooks", {}).setdefault("createContainer", [])
        hooks.append({"path": "/bin/domainname", "args": ["domainname", name]})


def _give_nodes(linux: Json, bounds: Bounds) -> None:
    """Give a privileged container the device nodes that exist besides those of every container."""
    devices = linux.setdefault("devices", [])
    rules = linux.setdefault("resources", {}).setdefault("devices", [])
    for path in {*_PRIVILEGED_NODES} & bounds.nodes.keys() - {device["path"] for device in devices}:
        _, major, minor = bounds.nodes[path]
        numbers = {"type": "c", "major": major, "minor": minor}
        devices.append({"path": path, **numbers, "fileMode": 0o666})
        rules.append({"allow": True, **numbers, "access": "rwm"})


def _bind_devices(linux: Json, mounts: list[Json], bounds: Bounds) -> None:
    """Bind-mount device nodes that have another path in the container: runc would bind the node of that path."""
    devices = linux.get("devices") or []
    paths = {node: path for path, node in bounds.nodes.items()}
    remaining = []
    for device in devices:
        node = device["type"] == "b", device.get("major", 0), device.get("minor", 0)
        if bounds.nodes.get(device["path"]) == node or node not in paths:
            remaining.append(device)
        else:
            options = ["bind", "rprivate", "nosuid", "noexec"]
            mounts.append({"destination": device["path"], "type": "bind", "source": paths[node], "options": options})
    linux["devices"] = remaining


def _show_memory(linux: Json, mounts: list[Json]) -> None:
    """Show the guest's memory in /proc/meminfo.

    A container that may mount proc also gets a proc that nothing is mounted over: the kernel demands one.
    """
    types = {mount["destination"]: mount.get("type") for mount in mounts}
    if types.get("/proc") != "proc" or "/proc/meminfo" in types:
        return
    options = ["bind", "ro", "nodev"]  # as it is mounted in the guest, where nobody may clear that
    mounts.append({"destination": "/proc/meminfo", "type": "bind", "source": MEMINFO, "options": options})
    if not linux.get("maskedPaths") and types.get("/dev") == "tmpfs":
        options = ["nosuid", "noexec", "nodev"]
        mounts.append({"destination": "/dev/.proc", "type": "proc", "source": "proc", "options": options})


def main() -> None:
    """Adapt the files that the arguments name, then become runc, which complains about what cannot be read."""
    arguments = sys.argv[1:]
    with contextlib.suppress(OSError, ValueError, KeyError):
        for option, value in itertools.pairwise(arguments):
            if option in _FILES:
                path = Path(value, _FILES[option])
                content = json.loads(path.read_bytes())
                (adapt if option == "--bundle" else adapt_process)(content, Bounds.of_process())
                atomic_files.replace(path, json.dumps(content), path.stat().st_mode & 0o777)
    os.execv(RUNC, ["runc", *arguments])
