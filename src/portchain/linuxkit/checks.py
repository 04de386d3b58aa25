"""Check the options of a container beyond their types."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from .schema import Kind
from .yaml_source import KeyPath

_CAPABILITIES = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
_LIMITS = "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME"
CAPABILITIES = tuple(f"CAP_{name}" for name in _CAPABILITIES.split())
LIMITS = tuple(_LIMITS.split())
NAME = re.compile(r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*")
VOLUME_NAME = re.compile(r"[a-z0-9_-]+")
_LIMIT = re.compile(r"\s*(?:RLIMIT_)?(\w+)\s*,\s*(\d+|unlimited)\s*,\s*(\d+|unlimited)\s*", re.IGNORECASE)
_SHARED = ("host", "root", "new")

Findings = Iterator[tuple[KeyPath, str]]


def check_container(kind: Kind, options: Any) -> Findings:
    """Yield what is wrong with a container's ``options``; key paths begin at them."""
    wrong_types = list(kind.problems(options, ()))
    yield from wrong_types or _check_values(options)


def _check_values(options: Mapping[str, Any]) -> Findings:
    if "name" in options and not NAME.fullmatch(options["name"]):
        yield ("name",), f"{options['name']!r} is not a name: use letters and digits, with single . _ - between them"
    yield from _check_capabilities(options)
    yield from _check_namespaces(options)
    for key in ("binds", "binds.add"):
        for number, bind in enumerate(options.get(key, [])):
            if not 2 <= len(bind.split(":")) <= 3 or not all(bind.split(":")[:2]):
                yield (key, number), f"{bind!r} is not source:target or source:target:options"
    for number, target in enumerate(options.get("tmpfs", [])):
        if target.count(":") > 1 or not target.startswith("/"):
            yield ("tmpfs", number), f"{target!r} is not /target or /target:options"
    for number, limit in enumerate(options.get("rlimits", [])):
        match = _LIMIT.fullmatch(limit)
        if not match or match[1].upper() not in LIMITS:
            yield ("rlimits", number), f"{limit!r} is not name,soft,hard; names are {', '.join(LIMITS).lower()}"


def _check_capabilities(options: Mapping[str, Any]) -> Findings:
    for key in ("capabilities", "capabilities.add", "ambient"):
        for number, name in enumerate(options.get(key, [])):
            if name.lower() not in ("all", "none") and name not in CAPABILITIES:
                yield (key, number), f"no capability {name!r}{_suggest_capability(name)}"


def _suggest_capability(name: str) -> str:
    close = difflib.get_close_matches(f"CAP_{name.upper().removeprefix('CAP_')}", CAPABILITIES, 1)
    return f"; {close[0]} is meant?" if close else "; all, none, or as capabilities(7) has them"


def _check_namespaces(options: Mapping[str, Any]) -> Findings:
    for key in ("net", "ipc", "uts", "pid"):
        value = options.get(key, "host")
        if value not in _SHARED and not value.startswith("/") and (key, value) != ("net", "none"):
            yield (key,), f"{value!r} is neither host nor new nor the path of a namespace"


def parse_limit(text: str) -> dict[str, Any]:
    """Parse LinuxKit's ``nofile,1024,unlimited`` into OCI's form; ``text`` must have been checked."""
    match = _LIMIT.fullmatch(text)
    assert match
    soft, hard = (2**64 - 1 if value.lower() == "unlimited" else int(value) for value in match.groups()[1:])
    return {"type": f"RLIMIT_{match[1].upper()}", "soft": soft, "hard": hard}
