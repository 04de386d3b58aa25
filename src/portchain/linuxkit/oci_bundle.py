"""Make a container's OCI bundle: the configuration for runc, with LinuxKit's defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .checks import CAPABILITIES, parse_limit
from .description import LinuxkitContainer
from .paths import PATH, STARTS, VOLUMES, Bundle

_NAMESPACES = {"net": "network", "ipc": "ipc", "uts": "uts", "pid": "pid"}
_BIND_DEFAULTS = ["rw", "rbind", "rshared"]
_TARGETS = {"proc": "/proc", "devpts": "/dev/pts", "sysfs": "/sys", "cgroup": "/sys/fs/cgroup", "mqueue": "/dev/mqueue"}
_COUNT_START = "/usr/libexec/count-start"

Options = Mapping[str, Any]


def oci_config(container: LinuxkitContainer, bundle: Bundle, hostname: str, ids: Mapping[str, int]) -> dict[str, Any]:
    """Return ``container``'s config.json, after the OCI runtime specification 1.0; ``ids`` are user ids by name."""
    options = container.options
    config: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": _process(options, ids),
        "root": {"path": bundle.rootfs, "readonly": options.get("readonly", False)},
        "mounts": _mounts(options),
        "annotations": options.get("annotations", {}),
        "linux": _linux(options, f"/{bundle.kind}/{bundle.name}"),
    }
    if bundle.kind == "services":
        hook = {"path": _COUNT_START, "args": ["count-start", f"{STARTS}/{bundle.name}"]}
        config["hooks"] = {"createRuntime": [hook]}
    if options.get("uts", "host") not in ("host", "root"):
        config["hostname"] = options.get("hostname") or hostname
    return config


def without_memory_limit(config: dict[str, Any]) -> dict[str, Any]:
    """Return ``config`` for a host without a memory controller, where runc refuses limits."""
    linux = config["linux"]
    resources = {key: value for key, value in linux["resources"].items() if key != "memory"}
    return config | {"linux": linux | {"resources": resources}}


def runtime_config(container: LinuxkitContainer) -> dict[str, Any]:
    """Return ``container``'s runtime.json: what the guest prepares before its start, and whether it is restarted."""
    runtime = container.options.get("runtime", {})
    return {
        "image": container.image,
        "mkdir": runtime.get("mkdir", []),
        "mounts": [_mount(mount) for mount in runtime.get("mounts", [])],
        "restart": not runtime.get("noRestart", False),
    }


def _process(options: Options, ids: Mapping[str, int]) -> dict[str, Any]:
    capabilities, ambient = (_capabilities(options.get(key, [])) for key in ("capabilities", "ambient"))
    bounding = sorted({*capabilities, *ambient})
    process = {
        "terminal": False,
        "user": {
            "uid": _id(options.get("uid", 0), ids),
            "gid": _id(options.get("gid", 0), ids),
            "additionalGids": [_id(group, ids) for group in options.get("additionalGids", [])],
        },
        "args": options["command"],
        "env": _environment(options.get("env", [])),
        "cwd": options.get("cwd") or "/",
        "capabilities": {
            **dict.fromkeys(("bounding", "inheritable", "permitted"), bounding),
            "effective": capabilities,
            "ambient": ambient,
        },
        "noNewPrivileges": options.get("noNewPrivileges", False),
        "rlimits": [parse_limit(text) for text in options.get("rlimits", [])],
    }
    if "oomScoreAdj" in options:
        process["oomScoreAdj"] = options["oomScoreAdj"]
    return process


def _linux(options: Options, group: str) -> dict[str, Any]:
    devices = [device for device in options.get("devices", []) if device["path"] != "all"]
    resources = dict(options.get("resources", {}))
    if options.get("devices"):
        resources["devices"] = [*resources.get("devices", []), *map(_device_rule, options["devices"])]
    return {
        "namespaces": [{"type": "mount"}, *_namespaces(options)],
        "cgroupsPath": options.get("cgroupsPath") or group,
        "rootfsPropagation": options.get("rootfsPropagation") or "shared",
        "resources": resources,
        "devices": [_device(device) for device in devices],
        "sysctl": options.get("sysctl", {}),
        "maskedPaths": options.get("maskedPaths", []),
        "readonlyPaths": options.get("readonlyPaths", []),
    }


def _capabilities(names: list[str]) -> list[str]:
    special = [name.lower() for name in names if not name.startswith("CAP_")]
    if "all" in special:
        return list(CAPABILITIES)
    return [name for name in names if name.lower() not in special]


def _environment(variables: list[str]) -> list[str]:
    return variables if any(variable.startswith("PATH=") for variable in variables) else [f"PATH={PATH}", *variables]


def _id(value: int | str, ids: Mapping[str, int]) -> int:
    """Return the id of a user or group, which is given as a number or as the name of a container that owns one."""
    return value if isinstance(value, int) else {"": 0, "root": 0, **ids}[value]


def _device(device: Options) -> dict[str, Any]:
    node = {key: device[key] for key in ("path", "type", "major", "minor") if key in device}
    return node | {"fileMode": int(device.get("mode", "0666"), 8)}


def _device_rule(device: Options) -> dict[str, Any]:
    numbers = {key: device[key] for key in ("major", "minor") if key in device}
    return {"allow": True, "type": device["type"], "access": "rwm", **numbers}


def _namespaces(options: Options) -> Iterable[dict[str, str]]:
    for key, kind in _NAMESPACES.items():
        value = options.get(key, "new" if key == "pid" else "host")
        if value not in ("host", "root"):
            yield {"type": kind} | ({"path": value} if value.startswith("/") else {})


def _base_mounts(read_only: bool) -> dict[str, dict[str, Any]]:
    read_only_options = ["ro"] if read_only else []
    mounts = (
        ("/proc", "proc", ["nosuid", "nodev", "noexec", "relatime"]),
        ("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k", *read_only_options]),
        ("/sys", "sysfs", ["nosuid", "noexec", "nodev", *read_only_options]),
        ("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
    )
    return {target: _oci_mount(fstype, fstype, target, options) for target, fstype, options in mounts}


def _mounts(options: Options) -> list[dict[str, Any]]:
    """Return the mounts in order of depth. Later entries replace earlier ones at the same target."""
    mounts = _base_mounts(options.get("readonly", False))
    for text in options.get("binds", []):
        source, target, *bind_options = text.split(":")
        for covered in [path for path in mounts if path.startswith(f"{target}/")]:
            del mounts[covered]
        path = source if source.startswith("/") else f"{VOLUMES}/{source}"
        mounts[target] = _oci_mount("bind", path, target, _bind_options(bind_options))
    for text in options.get("tmpfs", []):
        target, _, tmpfs_options = text.partition(":")
        mounts[target] = _oci_mount("tmpfs", "tmpfs", target, [option for option in tmpfs_options.split(",") if option])
    for mount in map(_mount, options.get("mounts", [])):
        mounts[mount["destination"]] = mount
    return sorted(mounts.values(), key=lambda mount: str(mount["destination"]).count("/"))


def _bind_options(given: list[str]) -> list[str]:
    """Add the defaults to a bind's options, ``given`` as one text with commas or not at all; ``ro`` replaces ``rw``."""
    options = given[0].split(",") if given else []
    defaults = [option for option in _BIND_DEFAULTS if not ("ro" in options and option == "rw")]
    return defaults + [option for option in options if option != "rw"]


def _oci_mount(fstype: str, source: str, target: str, options: list[str]) -> dict[str, Any]:
    """Return a mount. One that is bound read-only keeps nodev.

    runc mounts it again for ``ro``, and nobody in the guest may clear nodev, which all its mounts but /dev have.
    """
    if fstype == "bind" and "ro" in options and not f"{source}/".startswith("/dev/"):
        options = [*options, "nodev"]
    return {"destination": target, "type": fstype, "source": source, "options": options}


def _mount(mount: Options) -> dict[str, Any]:
    source = mount.get("source", "")
    fstype = mount.get("type") or (source if source in _TARGETS else "tmpfs")
    target = mount.get("destination") or _TARGETS.get(fstype, "")
    return _oci_mount(fstype, source or fstype, target, list(mount.get("options", [])))
