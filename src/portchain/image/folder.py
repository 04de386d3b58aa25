"""Read an image's definition from its folder. Needs PyYAML."""

from __future__ import annotations

import platform
from pathlib import Path

import yaml

from .definition import Definition, DefinitionError


def load(folder: Path, suite: str | None = None) -> Definition:
    """Read the definition in ``folder``, for ``suite`` or the machine's own; raise DefinitionError."""
    source = folder / "image.yml"
    if not source.exists():
        raise DefinitionError(f"image {folder.name}: no {source}")
    chosen_suite = suite or platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    return Definition.parse(folder, yaml.safe_load(source.read_text()) or {}, chosen_suite)
