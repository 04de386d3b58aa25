"""Find the images that a guest's YAML names, and the options that they give their containers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import host_sockets, layers, schema
from .checks import check_container
from .stored_image import StoredImage, StoredImageError, find_image
from .yaml_source import GuestYamlError, Source

_LABEL = "org.mobyproject.config"
_PATH_PREFIXES = ("/", "./", "../")
_COMPONENT = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_REGISTRY_REFERENCE = re.compile(
    rf"(?=.{{1,255}}\Z)(?:[a-zA-Z0-9.-]+(?::[0-9]+)?/)?{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,128})?"
)
_USER = re.compile(r"(\d+)(?::(\d+))?")


@dataclass(frozen=True)
class Image:
    """An image: ``key`` is its root's name below /containers/images, ``options`` are defaults for its containers.

    ``files`` is a folder that is laid over the root; ``stored`` is set if the image has to be unpacked.
    """

    key: str
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Path | None = None
    stored: StoredImage | None = None


class Images:
    """The images there are: the services of the ``catalogue``, the Debian package ``sets``, and images on disk."""

    def __init__(self, catalogue: Path, sets: Iterable[str]) -> None:
        self._catalogue = catalogue
        self._sets = frozenset(sets)

    def find(self, reference: str, folder: Path) -> Image | None:
        """Return the image that a file in ``folder`` names ``reference``; None if only a registry can have it.

        Raise LookupError if there is none, GuestYamlError if the catalogue's own entry is wrong.
        """
        if reference.startswith(_PATH_PREFIXES):
            return _find_stored(reference, folder)
        if reference in self.services():
            return self._from_catalogue(reference)
        if reference in self._sets:
            return Image(reference)
        if _REGISTRY_REFERENCE.fullmatch(reference):
            return None
        raise LookupError(
            f"{reference!r} is not an image; there are the services {', '.join(self.services())}, the package sets "
            f"{', '.join(sorted(self._sets))}, and images on disk, by their path"
        )

    def closest(self, reference: str) -> str:
        """Return the service or package set whose name is most like ``reference``, or an empty string."""
        return next(iter(difflib.get_close_matches(reference, [*self.services(), *self._sets], 1, 0.75)), "")

    def services(self) -> list[str]:
        """Return the names of the catalogue's services, sorted."""
        return sorted(path.parent.name for path in self._catalogue.glob("*/service.yml"))

    def _from_catalogue(self, name: str) -> Image:
        path = self._catalogue / name / "service.yml"
        source = Source(str(path), path.read_text())
        entry = source.data
        problems = [source.problem(key_path, text) for key_path, text in check_container(schema.CONTAINER, entry)]
        if not problems and entry["name"] != name:
            problems = [source.problem(("name",), f"its folder is named {name}; the two must be the same")]
        if not problems and entry["image"] not in self._sets:
            known = ", ".join(sorted(self._sets))
            problems = [source.problem(("image",), f"no package set {entry['image']!r}; there are: {known}")]
        if not problems:
            texts = host_sockets.check_annotations([(name, entry.get("annotations", {}))])
            problems = [source.problem(("annotations",), text) for _, text in texts]
        if problems:
            raise GuestYamlError(problems)
        options = {key: value for key, value in entry.items() if key not in ("name", "image")}
        return Image(entry["image"], options, self._catalogue / name / "files")


def _find_stored(reference: str, folder: Path) -> Image:
    path, name = reference, ""
    try:
        if not (folder / path).exists() and ":" in reference:
            path, _, name = reference.rpartition(":")
        if not (folder / path).exists():
            raise LookupError(f"no image at {folder.resolve() / path}")
    except OSError as error:
        raise LookupError(f"no image at {folder.resolve() / path}: {error.strerror}") from error
    try:
        image = find_image((folder / path).resolve(), name)
        return Image(layers.root_name(image), _options(image), stored=image)
    except StoredImageError as error:
        raise LookupError(str(error)) from error


def _options(image: StoredImage) -> dict[str, Any]:
    """Return an image's configuration as LinuxKit's options; those in its label override Docker's own."""
    config = image.runtime
    options = {
        "command": [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])],
        "env": config.get("Env") or [],
        "cwd": config.get("WorkingDir") or "/",
    }
    if user := config.get("User"):
        ids = _USER.fullmatch(user)
        if ids:
            options |= {"uid": int(ids[1]), "gid": int(ids[2] or 0)}
        elif user != "root":
            raise LookupError(f"{image.path} runs as the user {user!r}; give it a uid and a gid here")
    label = Source(f"{image.path}: label {_LABEL}", (config.get("Labels") or {}).get(_LABEL) or "{}")
    findings = check_container(schema.Keys(schema.OPTIONS), label.data)
    problems = [label.problem(key_path, text) for key_path, text in findings]
    if problems:
        raise GuestYamlError(problems)
    return {**options, **label.data}
