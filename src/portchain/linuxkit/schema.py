"""The schema of LinuxKit's YAML: its keys and the types of their values.

It follows linuxkit's moby/schema.go and config.go; linuxkit's docs/yaml.md says what the keys mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .yaml_source import KeyPath


@dataclass(frozen=True)
class Scalar:
    """A plain value of one of ``types``, which ``what`` describes."""

    types: tuple[type, ...]
    what: str

    def problems(self, value: Any, key_path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
        """Yield what is wrong with ``value``, which is at ``key_path``."""
        if type(value) not in self.types:
            yield key_path, f"must be {self.what}, not {_type_name(value)}"


@dataclass(frozen=True)
class Items:
    """A list of values of one kind."""

    of: Kind

    def problems(self, value: Any, key_path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
        """Yield what is wrong with ``value``, which is at ``key_path``."""
        if not isinstance(value, list):
            yield key_path, f"must be a list, not {_type_name(value)}"
            return
        for number, item in enumerate(value):
            yield from self.of.problems(item, (*key_path, number))


@dataclass(frozen=True)
class Keys:
    """A mapping with known keys, some of them ``required``."""

    known: Mapping[str, Kind]
    required: tuple[str, ...] = ()

    def problems(self, value: Any, key_path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
        """Yield what is wrong with ``value``, which is at ``key_path``."""
        if not isinstance(value, dict):
            yield key_path, f"must be a mapping, not {_type_name(value)}"
            return
        for key in self.required:
            if key not in value:
                yield (*key_path, key), "is required"
        for key, item in value.items():
            if key in self.known:
                yield from self.known[key].problems(item, (*key_path, str(key)))
            else:
                yield (*key_path, str(key)), f"unknown key; there are: {', '.join(sorted(self.known))}"


@dataclass(frozen=True)
class Pairs:
    """A mapping with any keys, and values of one kind."""

    of: Kind

    def problems(self, value: Any, key_path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
        """Yield what is wrong with ``value``, which is at ``key_path``."""
        if not isinstance(value, dict):
            yield key_path, f"must be a mapping, not {_type_name(value)}"
            return
        for key, item in value.items():
            yield from self.of.problems(item, (*key_path, str(key)))


Kind = Scalar | Items | Keys | Pairs


_TYPE_NAMES: dict[type, str] = {
    **{bool: "a boolean", int: "a number", str: "a string", list: "a list", dict: "a mapping"},
    type(None): "empty",
}


def _type_name(value: Any) -> str:
    return _TYPE_NAMES.get(type(value), type(value).__name__)


def _integers(*names: str) -> dict[str, Kind]:
    return dict.fromkeys(names, INTEGER)


STRING = Scalar((str,), "a string")
INTEGER = Scalar((int,), "a number")
BOOLEAN = Scalar((bool,), "true or false")
ID = Scalar((int, str), "a number or a name")
STRINGS = Items(STRING)
MOUNT = Keys({"destination": STRING, "type": STRING, "source": STRING, "options": STRINGS})
_MAPPINGS = Items(Keys(_integers("hostID", "containerID", "size")))
_WEIGHTS = Items(Keys(_integers("major", "minor", "weight", "leafWeight")))
_RATES = Items(Keys(_integers("major", "minor", "rate")))
_DEVICE_RULE = Keys({"allow": BOOLEAN, "type": STRING, "access": STRING, **_integers("major", "minor")})
_MEMORY = _integers("limit", "reservation", "swap", "kernel", "kernelTCP", "swappiness")
_CPU = _integers("shares", "quota", "period", "realtimeRuntime", "realtimePeriod")
_THROTTLES = ("throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice")

RESOURCES = Keys(
    {
        "devices": Items(_DEVICE_RULE),
        "memory": Keys({**_MEMORY, "disableOOMKiller": BOOLEAN}),
        "cpu": Keys({**_CPU, "cpus": STRING, "mems": STRING}),
        "pids": Keys(_integers("limit")),
        "blockio": Keys(
            {**_integers("weight", "leafWeight"), "weightDevice": _WEIGHTS, **dict.fromkeys(_THROTTLES, _RATES)}
        ),
        "hugepageLimits": Items(Keys({"pageSize": ID, "limit": INTEGER})),
        "network": Keys({"classID": INTEGER, "priorities": Items(Keys({"name": STRING, "priority": INTEGER}))}),
    }
)
RUNTIME = Keys(
    {
        "cgroups": STRINGS,
        "mounts": Items(MOUNT),
        "mkdir": STRINGS,
        "interfaces": Items(Keys({"name": STRING, "add": STRING, "peer": STRING, "createInRoot": BOOLEAN})),
        "bindNS": Keys(dict.fromkeys(("cgroup", "ipc", "mnt", "net", "pid", "user", "uts"), STRING)),
        "namespace": STRING,
        "noRestart": BOOLEAN,
    }
)
_LIST_KEYS = ("capabilities", "capabilities.add", "ambient", "binds", "binds.add", "tmpfs", "command", "env")
_STRING_KEYS = ("cwd", "net", "pid", "ipc", "uts", "userns", "hostname", "rootfsPropagation", "cgroupsPath")
OPTIONS: dict[str, Kind] = {
    **dict.fromkeys((*_LIST_KEYS, "maskedPaths", "readonlyPaths", "rlimits"), STRINGS),
    **dict.fromkeys(_STRING_KEYS, STRING),
    **dict.fromkeys(("readonly", "noNewPrivileges"), BOOLEAN),
    **dict.fromkeys(("uid", "gid"), ID),
    **dict.fromkeys(("sysctl", "annotations"), Pairs(STRING)),
    **dict.fromkeys(("uidMappings", "gidMappings"), _MAPPINGS),
    "additionalGids": Items(ID),
    "oomScoreAdj": INTEGER,
    "mounts": Items(MOUNT),
    "devices": Items(Keys({"path": STRING, "type": STRING, "mode": STRING, **_integers("major", "minor")})),
    "resources": RESOURCES,
    "runtime": RUNTIME,
}
CONTAINER = Keys({"name": STRING, "image": STRING, **OPTIONS}, required=("name", "image"))
FILE = Keys(
    {
        **dict.fromkeys(("path", "symlink", "contents", "source", "metadata", "mode"), STRING),
        **dict.fromkeys(("directory", "optional"), BOOLEAN),
        **dict.fromkeys(("uid", "gid"), ID),
    },
    required=("path",),
)
VOLUME = Keys(
    {"name": STRING, "image": STRING, "readonly": BOOLEAN, "format": STRING, "platforms": STRINGS}, required=("name",)
)
GUEST = Keys(
    {
        "kernel": Keys(dict.fromkeys(("image", "cmdline", "binary", "tar", "ucode"), STRING)),
        "init": STRINGS,
        **dict.fromkeys(("onboot", "onshutdown", "services"), Items(CONTAINER)),
        "files": Items(FILE),
        "volumes": Items(VOLUME),
        "trust": Keys({"image": STRINGS, "org": STRINGS}),
    }
)
