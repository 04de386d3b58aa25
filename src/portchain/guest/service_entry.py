"""A service's entry in LinuxKit's own YAML words, read and checked.

The words are those of linuxkit's moby/schema.go; https://github.com/linuxkit/linuxkit/blob/master/docs/yaml.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CAPABILITIES = (
    *(
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
    ),
    *("CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST"),
    *("CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO"),
    *("CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE"),
    *("CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE"),
    *(
        "CAP_AUDIT_CONTROL",
        "CAP_SETFCAP",
        "CAP_MAC_OVERRIDE",
        "CAP_MAC_ADMIN",
        "CAP_SYSLOG",
        "CAP_WAKE_ALARM",
    ),
    *("CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"),
)
_SHARED_OR_NEW = ("net", "ipc", "uts", "pid")
_RUNTIME_KEYS = {"mounts": list, "mkdir": list}


class EntryError(Exception):
    """An entry cannot be used; the message names the service, the key and what is allowed."""


@dataclass(frozen=True)
class ServiceEntry:
    """One service. ``binds`` are ``source:target[:options]``; ``mounts`` are OCI mounts; namespaces host or new."""

    name: str
    image: str
    command: list[str]
    capabilities: list[str] = field(default_factory=list)
    binds: list[str] = field(default_factory=list)
    mounts: list[dict[str, Any]] = field(default_factory=list)
    tmpfs: list[str] = field(default_factory=list)
    env: list[str] = field(default_factory=list)
    cwd: str = "/"
    net: str = "host"
    ipc: str = "host"
    uts: str = "host"
    pid: str = "new"
    readonly: bool = False
    rootfsPropagation: str = ""  # noqa: N815 - the words are LinuxKit's
    noNewPrivileges: bool = False  # noqa: N815
    oomScoreAdj: int | None = None  # noqa: N815
    cgroupsPath: str = ""  # noqa: N815
    resources: dict[str, Any] = field(default_factory=dict)
    rlimits: list[str] = field(default_factory=list)
    runtime: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: Mapping[str, Any], images: frozenset[str]) -> ServiceEntry:
        """Read one entry, its image one of ``images``; raise EntryError naming what is wrong."""
        name = data.get("name", "?")
        kinds = {f.name: str(f.type).partition("[")[0].partition(" ")[0] for f in cls.__dataclass_fields__.values()}
        _check_keys(f"service {name}", data, kinds)
        for key in ("name", "image", "command"):
            if not data.get(key):
                raise EntryError(f"service {name}: the key {key} is required")
        for key, value in data.items():
            if type(value).__name__ != kinds[key]:
                raise EntryError(f"service {name}: {key} must be a {kinds[key]}, not {type(value).__name__}")
        entry = cls(**data)
        entry._check(images)
        return entry

    def _check(self, images: frozenset[str]) -> None:
        where = f"service {self.name}"
        if self.image not in images:
            raise EntryError(f"{where}: no image {self.image!r}; one of {', '.join(sorted(images))}")
        for key in _SHARED_OR_NEW:
            if getattr(self, key) not in ("host", "new"):
                raise EntryError(f"{where}: {key} must be host or new, not {getattr(self, key)!r}")
        for capability in self.capabilities:
            if capability != "all" and capability not in CAPABILITIES:
                raise EntryError(f"{where}: no capability {capability!r}; all, or one of {', '.join(CAPABILITIES)}")
        for bind in self.binds:
            if len(bind.split(":")) not in (2, 3) or not bind.startswith("/"):
                raise EntryError(f"{where}: bind {bind!r} is not source:target[:options] with absolute paths")
        _check_keys(f"{where}: runtime", self.runtime, _RUNTIME_KEYS)


def _check_keys(where: str, data: Mapping[str, Any], allowed: Mapping[str, Any]) -> None:
    for key in data:
        if key not in allowed:
            raise EntryError(f"{where}: unknown key {key!r}; allowed: {', '.join(sorted(allowed))}")
