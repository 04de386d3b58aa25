"""A container's OCI bundle: the configuration that runc is given, with LinuxKit's defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import PATH
from .places import STARTS, VOLUMES, Bundle
from .yaml_checks import CAPABILITIES, limit
from .yaml_guest import Container

_NAMESPACES = {"net": "network", "ipc": "ipc", "uts": "uts", "pid": "pid"}
_BIND_DEFAULTS = ["rw", "rbind", "rshared"]
_TARGETS = {"proc": "/proc", "devpts": "/dev/pts", "sysfs": "/sys", "cgroup": "/sys/fs/cgroup", "mqueue": "/dev/mqueue"}
_COUNT_START = "/usr/libexec/count-start"

Words = Mapping[str, Any]


def oci_config(container: Container, bundle: Bundle, hostname: str, ids: Mapping[str, int]) -> dict[str, Any]:
    """The config.json of ``container``, as the OCI runtime specification 1.0 has it; ``ids`` are named users."""
    words = container.words
    config: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": _process(words, ids),
        "root": {"path": bundle.rootfs, "readonly": words.get("readonly", False)},
        "mounts": _mounts(words),
        "annotations": words.get("annotations", {}),
        "linux": _linux(words, f"/{bundle.kind}/{bundle.name}"),
    }
    if bundle.kind == "services":
        hook = {"path": _COUNT_START, "args": ["count-start", f"{STARTS}/{bundle.name}"]}
        config["hooks"] = {"createRuntime": [hook]}
    if words.get("uts", "host") not in ("host", "root"):
        config["hostname"] = words.get("hostname") or hostname
    return config


def without_memory_limit(config: dict[str, Any]) -> dict[str, Any]:
    """``config`` for a host without a memory controller, where runc refuses limits."""
    linux = config["linux"]
    resources = {key: value for key, value in linux["resources"].items() if key != "memory"}
    return config | {"linux": linux | {"resources": resources}}


def runtime_config(container: Container) -> dict[str, Any]:
    """The runtime.json of ``container``: what the guest prepares before it starts it, and whether it keeps it."""
    runtime = container.words.get("runtime", {})
    return {
        "image": container.image,
        "mkdir": runtime.get("mkdir", []),
        "mounts": [_mount(mount) for mount in runtime.get("mounts", [])],
        "restart": not runtime.get("noRestart", False),
    }


def _process(words: Words, ids: Mapping[str, int]) -> dict[str, Any]:
    capabilities, ambient = (_capabilities(words.get(key, [])) for key in ("capabilities", "ambient"))
    bounding = sorted({*capabilities, *ambient})
    process = {
        "terminal": False,
        "user": {
            "uid": _id(words.get("uid", 0), ids),
            "gid": _id(words.get("gid", 0), ids),
            "additionalGids": [_id(group, ids) for group in words.get("additionalGids", [])],
        },
        "args": words["command"],
        "env": _environment(words.get("env", [])),
        "cwd": words.get("cwd") or "/",
        "capabilities": {
            **dict.fromkeys(("bounding", "inheritable", "permitted"), bounding),
            "effective": capabilities,
            "ambient": ambient,
        },
        "noNewPrivileges": words.get("noNewPrivileges", False),
        "rlimits": [limit(text) for text in words.get("rlimits", [])],
    }
    if "oomScoreAdj" in words:
        process["oomScoreAdj"] = words["oomScoreAdj"]
    return process


def _linux(words: Words, group: str) -> dict[str, Any]:
    devices = [device for device in words.get("devices", []) if device["path"] != "all"]
    resources = dict(words.get("resources", {}))
    if words.get("devices"):
        resources["devices"] = [*resources.get("devices", []), *map(_device_rule, words["devices"])]
    return {
        "namespaces": [{"type": "mount"}, *_namespaces(words)],
        "cgroupsPath": words.get("cgroupsPath") or group,
        "rootfsPropagation": words.get("rootfsPropagation") or "shared",
        "resources": resources,
        "devices": [_device(device) for device in devices],
        "sysctl": words.get("sysctl", {}),
        "maskedPaths": words.get("maskedPaths", []),
        "readonlyPaths": words.get("readonlyPaths", []),
    }


def _capabilities(names: list[str]) -> list[str]:
    special = [name.lower() for name in names if not name.startswith("CAP_")]
    if "all" in special:
        return list(CAPABILITIES)
    return [name for name in names if name.lower() not in special]


def _environment(given: list[str]) -> list[str]:
    return given if any(one.startswith("PATH=") for one in given) else [f"PATH={PATH}", *given]


def _id(value: int | str, ids: Mapping[str, int]) -> int:
    """A user or group: a number, or a container's name, which stands for the one that is its own."""
    return value if isinstance(value, int) else {"": 0, "root": 0, **ids}[value]


def _device(device: Words) -> dict[str, Any]:
    node = {key: device[key] for key in ("path", "type", "major", "minor") if key in device}
    return node | {"fileMode": int(device.get("mode", "0666"), 8)}


def _device_rule(device: Words) -> dict[str, Any]:
    numbers = {key: device[key] for key in ("major", "minor") if key in device}
    return {"allow": True, "type": device["type"], "access": "rwm", **numbers}


def _namespaces(words: Words) -> Iterable[dict[str, str]]:
    for key, kind in _NAMESPACES.items():
        value = words.get(key, "new" if key == "pid" else "host")
        if value not in ("host", "root"):
            yield {"type": kind} | ({"path": value} if value.startswith("/") else {})


def _base_mounts(read_only: bool) -> dict[str, dict[str, Any]]:
    also = ["ro"] if read_only else []
    mounts = (
        ("/proc", "proc", ["nosuid", "nodev", "noexec", "relatime"]),
        ("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k", *also]),
        ("/sys", "sysfs", ["nosuid", "noexec", "nodev", *also]),
        ("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
    )
    return {target: _oci_mount(fstype, fstype, target, options) for target, fstype, options in mounts}


def _mounts(words: Words) -> list[dict[str, Any]]:
    """Later entries replace earlier ones at the same target; all in order of depth."""
    found = _base_mounts(words.get("readonly", False))
    for text in words.get("binds", []):
        source, target, *given = text.split(":")
        for covered in [t for t in found if t.startswith(f"{target}/")]:
            del found[covered]
        place = source if source.startswith("/") else f"{VOLUMES}/{source}"
        found[target] = _oci_mount("bind", place, target, _bind_options(given))
    for text in words.get("tmpfs", []):
        target, _, options = text.partition(":")
        found[target] = _oci_mount("tmpfs", "tmpfs", target, [o for o in options.split(",") if o])
    for mount in map(_mount, words.get("mounts", [])):
        found[mount["destination"]] = mount
    return sorted(found.values(), key=lambda mount: str(mount["destination"]).count("/"))


def _bind_options(given: list[str]) -> list[str]:
    options = given[0].split(",") if given else []
    read_only = "ro" in options
    return [o for o in _BIND_DEFAULTS if not (read_only and o == "rw")] + [o for o in options if o != "rw"]


def _oci_mount(fstype: str, source: str, target: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": fstype, "source": source, "options": options}


def _mount(mount: Words) -> dict[str, Any]:
    source = mount.get("source", "")
    fstype = mount.get("type") or (source if source in _TARGETS else "tmpfs")
    target = mount.get("destination") or _TARGETS.get(fstype, "")
    return _oci_mount(fstype, source or fstype, target, list(mount.get("options", [])))
