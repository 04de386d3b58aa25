"""The engine's configuration: the guest's base with the user's own part on top, which is kept on the data disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....linux import atomic_files

# With other values the rest of the guest would not find the engine.
FIXED = ("containerd", "data-root", "exec-root", "hosts", "pidfile")


class ConfigError(Exception):
    """A configuration cannot be used; the message says why."""


def parse_own(text: bytes) -> dict[str, Any]:
    """Parse the user's part of daemon.json; no text means an empty one. Raise ConfigError."""
    try:
        own = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise ConfigError(f"daemon.json is not JSON: {error}") from None
    if not isinstance(own, dict):
        raise ConfigError("daemon.json must be an object")
    fixed = [key for key in FIXED if key in own]
    if fixed:
        raise ConfigError(f"daemon.json: {', '.join(fixed)}: fixed by the guest; leave it out")
    return own


def merge(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``own`` on top: objects key by key, anything else as a whole; null removes a key."""
    result = dict(base)
    for key, value in own.items():
        below = result.get(key)
        if isinstance(value, dict):
            result[key] = merge(below if isinstance(below, dict) else {}, value)
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = value
    return result


@dataclass(frozen=True)
class ConfigFiles:
    """The configuration's files: ``base`` in the service, ``own`` on the data disk, ``effective`` for dockerd."""

    base: Path = Path("/etc/docker/daemon.base.json")
    own: Path = Path("/var/lib/docker/desktop-engine/daemon.json")
    effective: Path = Path("/etc/docker/daemon.json")

    def read_base(self) -> dict[str, Any]:
        """Return the guest's part."""
        base: dict[str, Any] = json.loads(self.base.read_text())
        return base

    def read_own(self) -> dict[str, Any]:
        """Return the user's part; raise ConfigError if the file is damaged."""
        try:
            return parse_own(self.own.read_bytes())
        except FileNotFoundError:
            return {}

    def read_effective(self) -> dict[str, Any]:
        """Return what dockerd was last given."""
        effective: dict[str, Any] = json.loads(self.effective.read_text())
        return effective

    def install(self, effective: Mapping[str, Any]) -> None:
        """Write the configuration that dockerd reads at its next start."""
        _replace(self.effective, effective)

    def save(self, own: Mapping[str, Any]) -> None:
        """Save the user's part for this boot and later ones."""
        self.own.parent.mkdir(mode=0o700, exist_ok=True)
        _replace(self.own, own)


def _replace(path: Path, content: Mapping[str, Any]) -> None:
    atomic_files.replace(path, json.dumps(content, indent=2) + "\n", durable=True)
