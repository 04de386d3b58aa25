"""Read an image's definition from its folder. Needs PyYAML."""

from __future__ import annotations

import platform
from pathlib import Path

import yaml

from .definition import Definition, DefinitionError
from .suites import SuiteChoice


def load(folder: Path, choice: SuiteChoice | None = None) -> Definition:
    """Read the definition in ``folder``, for the suite that ``choice`` has for it on this machine.

    Raise DefinitionError.
    """
    source = folder / "image.yml"
    if not source.exists():
        raise DefinitionError(f"image {folder.name}: no {source}")
    own = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    origin = (choice or SuiteChoice()).origin(folder.name, own)
    return Definition.parse(folder, yaml.safe_load(source.read_text()) or {}, origin)
