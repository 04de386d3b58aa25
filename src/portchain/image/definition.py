"""An image's definition, and the hash of it under which the image is kept."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..linux.overlay_files import entries
from .suites import PackageOrigin

# Raised when a change to the builder alters the images that it builds.
_BUILDER_VERSION = 1
_KEYS = {"packages": list, "config": dict}


class DefinitionError(Exception):
    """An image's definition cannot be used; the message names the image and the key."""


@dataclass(frozen=True)
class Definition:
    """An image: Debian ``packages``, the files of ``folder``/files over them, then ``folder``/customize.

    The packages are as apt is to be asked for them.

    An image with a ``config`` (keys as in Docker's image configuration) is for the engine and becomes an archive for
    docker load; any other is a root file system.
    """

    name: str
    folder: Path
    origin: PackageOrigin
    packages: list[str]
    config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, folder: Path, data: Mapping[str, Any], origin: PackageOrigin) -> Definition:
        """Parse the content of ``folder``/image.yml; raise DefinitionError for a wrong or missing key."""
        for key, value in data.items():
            if key not in _KEYS:
                raise DefinitionError(f"image {folder.name}: unknown key {key!r}; allowed: {', '.join(sorted(_KEYS))}")
            if not isinstance(value, _KEYS[key]):
                raise DefinitionError(f"image {folder.name}: {key} must be a {_KEYS[key].__name__}")
        if not data.get("packages"):
            raise DefinitionError(f"image {folder.name}: the key packages is required")
        packages = origin.packages(data["packages"])
        return cls(folder.name, folder, origin, packages, dict(data.get("config", {})))

    @property
    def files(self) -> Path:
        """The folder of files that are copied over those of the packages; may be missing."""
        return self.folder / "files"

    @property
    def customize(self) -> Path:
        """The program that is run last, with the root as its argument; may be missing."""
        return self.folder / "customize"

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits of the hash of all inputs."""
        origin = self.origin.suite, self.packages
        inputs = [_BUILDER_VERSION, *origin, self.config, list(_describe_tree(self.files))]
        if self.customize.exists():
            inputs.append(self.customize.read_text())
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def reference(self) -> str:
        """The name under which the engine knows the image."""
        return f"portchain/{self.name}:{self.digest}"

    def path(self, cache: Path) -> Path:
        """Return where the finished image is kept: a folder, or an archive for docker load."""
        return cache / f"{self.name}-{self.digest}{'.tar' if self.config else ''}"


def _describe_tree(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield each file's path below ``folder``, its kind with mode, and its content's hash or link target."""
    for name, path, link in entries(folder):
        if link is not None:
            yield name, "link", link
        elif path.is_file():
            executable = bool(path.stat().st_mode & stat.S_IXUSR)
            yield name, f"file {executable}", hashlib.sha256(path.read_bytes()).hexdigest()
