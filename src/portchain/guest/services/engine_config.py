"""The engine's configuration: the guest's base, with the user's own on top, which is kept on the data disk."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Others than these would leave the engine where nobody of the guest finds it.
FIXED = ("containerd", "data-root", "exec-root", "hosts", "pidfile")


class ConfigError(Exception):
    """A configuration cannot be used; the message says why."""


def parse(text: bytes) -> dict[str, Any]:
    """The user's part of daemon.json; nothing at all is an empty one. Raise ConfigError."""
    try:
        own = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise ConfigError(f"daemon.json is not JSON: {error}") from None
    if not isinstance(own, dict):
        raise ConfigError("daemon.json must be an object")
    fixed = [key for key in FIXED if key in own]
    if fixed:
        raise ConfigError(f"daemon.json: {', '.join(fixed)}: the guest's own, not to be changed")
    return own


def merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``own`` on top: objects key by key, anything else as a whole; null takes a key away."""
    result = dict(base)
    for key, value in own.items():
        below = result.get(key)
        if isinstance(value, dict):
            result[key] = merged(below if isinstance(below, dict) else {}, value)
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = value
    return result


@dataclass(frozen=True)
class ConfigFiles:
    """Where it is: ``base`` in the service, ``own`` on the data disk, ``effective`` where dockerd looks."""

    base: Path = Path("/etc/docker/daemon.base.json")
    own: Path = Path("/var/lib/docker/desktop-engine/daemon.json")
    effective: Path = Path("/etc/docker/daemon.json")

    def read_base(self) -> dict[str, Any]:
        """The guest's part."""
        found: dict[str, Any] = json.loads(self.base.read_text())
        return found

    def read_own(self) -> dict[str, Any]:
        """The user's part; raise ConfigError where what is kept is damaged."""
        try:
            return parse(self.own.read_bytes())
        except FileNotFoundError:
            return {}

    def read_effective(self) -> dict[str, Any]:
        """What dockerd was last given."""
        found: dict[str, Any] = json.loads(self.effective.read_text())
        return found

    def install(self, effective: Mapping[str, Any]) -> None:
        """Have dockerd read this when it starts next."""
        _replace(self.effective, effective)

    def keep(self, own: Mapping[str, Any]) -> None:
        """Keep the user's part for this boot and later ones."""
        self.own.parent.mkdir(mode=0o700, exist_ok=True)
        _replace(self.own, own)


def _replace(path: Path, content: Mapping[str, Any]) -> None:
    new = path.with_suffix(".new")
    with new.open("w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
