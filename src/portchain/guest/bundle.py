"""A service's OCI bundle: the runtime configuration that runc is given."""

from __future__ import annotations

from typing import Any

from . import PATH
from .places import STARTS, Bundle
from .service_entry import CAPABILITIES, ServiceEntry

_NAMESPACES = {"net": "network", "ipc": "ipc", "uts": "uts", "pid": "pid"}
_BIND_DEFAULTS = ["rw", "rbind", "rshared"]
_BASE_MOUNTS: tuple[tuple[str, str, list[str]], ...] = (
    ("/proc", "proc", ["nosuid", "nodev", "noexec", "relatime"]),
    ("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
    ("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("/dev/mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
)


def oci_config(entry: ServiceEntry, hostname: str) -> dict[str, Any]:
    """The config.json of ``entry``, as the OCI runtime specification 1.0 has it."""
    allowed = list(CAPABILITIES) if "all" in entry.capabilities else entry.capabilities
    capability_sets = ("bounding", "effective", "inheritable", "permitted")
    process: dict[str, Any] = {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": entry.command,
        "env": [f"PATH={PATH}", *entry.env],
        "cwd": entry.cwd,
        "capabilities": dict.fromkeys(capability_sets, allowed),
        "noNewPrivileges": entry.noNewPrivileges,
    }
    if entry.rlimits:
        process["rlimits"] = [_rlimit(text) for text in entry.rlimits]
    if entry.oomScoreAdj is not None:
        process["oomScoreAdj"] = entry.oomScoreAdj
    config: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": Bundle("services", entry.name).rootfs, "readonly": entry.readonly},
        "hooks": {"createRuntime": [_count_start(entry.name)]},
        "mounts": _mounts(entry),
        "linux": {
            "namespaces": _namespaces(entry),
            "cgroupsPath": entry.cgroupsPath or f"/services/{entry.name}",
            "rootfsPropagation": entry.rootfsPropagation or "shared",
            "resources": entry.resources,
        },
    }
    if entry.uts == "new":
        config["hostname"] = hostname
    return config


def runtime_config(entry: ServiceEntry) -> dict[str, Any]:
    """The runtime.json of ``entry``: what the guest prepares before it starts the service."""
    return {
        "image": entry.image,
        "mkdir": entry.runtime.get("mkdir", []),
        "mounts": [_mount(mount) for mount in entry.runtime.get("mounts", [])],
    }


def _count_start(name: str) -> dict[str, Any]:
    """Has the guest note that the service starts, which containerd does not count."""
    return {"path": "/usr/libexec/count-start", "args": ["count-start", f"{STARTS}/{name}"]}


def _namespaces(entry: ServiceEntry) -> list[dict[str, str]]:
    new = [kind for key, kind in _NAMESPACES.items() if getattr(entry, key) == "new"]
    return [{"type": kind} for kind in ("mount", *new)]


def _mounts(entry: ServiceEntry) -> list[dict[str, Any]]:
    """Later entries replace earlier ones at the same target; all in order of depth."""
    found = {target: _oci_mount(fstype, fstype, target, options) for target, fstype, options in _BASE_MOUNTS}
    for text in entry.binds:
        source, target, *given = text.split(":")
        for covered in [t for t in found if t.startswith(f"{target}/")]:
            del found[covered]
        found[target] = _oci_mount("bind", source, target, _bind_options(given))
    for text in entry.tmpfs:
        target, _, options = text.partition(":")
        found[target] = _oci_mount("tmpfs", "tmpfs", target, [o for o in options.split(",") if o])
    for mount in entry.mounts:
        found[mount["destination"]] = _mount(mount)
    return sorted(found.values(), key=lambda mount: str(mount["destination"]).count("/"))


def _bind_options(given: list[str]) -> list[str]:
    options = given[0].split(",") if given else []
    read_only = "ro" in options
    return [o for o in _BIND_DEFAULTS if not (read_only and o == "rw")] + [o for o in options if o != "rw"]


def _oci_mount(fstype: str, source: str, target: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": fstype, "source": source, "options": options}


def _mount(mount: dict[str, Any]) -> dict[str, Any]:
    return _oci_mount(
        mount.get("type", "bind"),
        mount.get("source", mount.get("type", "none")),
        mount["destination"],
        list(mount.get("options", [])),
    )


def _rlimit(text: str) -> dict[str, Any]:
    """Read LinuxKit's ``nofile,soft,hard``."""
    kind, soft, hard = text.split(",")
    return {"type": f"RLIMIT_{kind.upper()}", "soft": int(soft), "hard": int(hard)}
