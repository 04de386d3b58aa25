"""What a guest's YAML may name as images, and what each brings for the container that it is of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..image import unpack
from ..image.stored import StoredImage, StoredImageError, find
from . import yaml_schema
from .yaml_checks import problems
from .yaml_source import GuestYamlError, Source

_LABEL = "org.mobyproject.config"
_LOCAL = ("/", "./", "../")
_USER = re.compile(r"(\d+)(?::(\d+))?")


@dataclass(frozen=True)
class Image:
    """An image: ``key`` is its root's name below /containers/images, ``words`` are what it has its containers be.

    ``files`` is a folder that is laid over the root; ``stored`` is set where it has to be unpacked.
    """

    key: str
    words: Mapping[str, Any] = field(default_factory=dict)
    files: Path | None = None
    stored: StoredImage | None = None


class Images:
    """The services of the ``catalogue``, the Debian package ``sets``, and what is on disk."""

    def __init__(self, catalogue: Path, sets: Iterable[str]) -> None:
        self._catalogue = catalogue
        self._sets = frozenset(sets)

    def find(self, reference: str, folder: Path) -> Image | None:
        """The image called ``reference`` in a file that is in ``folder``; None for what a registry would have.

        Raises LookupError where there is none, GuestYamlError where the catalogue's own entry is wrong.
        """
        if reference.startswith(_LOCAL):
            return _stored(reference, folder)
        if (self._catalogue / reference / "service.yml").is_file():
            return self._of_catalogue(reference)
        if reference in self._sets:
            return Image(reference)
        if ":" in reference or "/" in reference:
            return None
        services = sorted(path.parent.name for path in self._catalogue.glob("*/service.yml"))
        raise LookupError(
            f"no image {reference!r}; there are the services {', '.join(services)}, the package sets "
            f"{', '.join(sorted(self._sets))}, and images on disk, by their path"
        )

    def _of_catalogue(self, name: str) -> Image:
        path = self._catalogue / name / "service.yml"
        source = Source(str(path), path.read_text())
        words = source.data
        found = [source.problem(place, text) for place, text in problems(yaml_schema.CONTAINER, words)]
        if not found and words["name"] != name:
            found = [source.problem(("name",), f"its folder is named {name}; the two must be the same")]
        if not found and words["image"] not in self._sets:
            known = ", ".join(sorted(self._sets))
            found = [source.problem(("image",), f"no package set {words['image']!r}; there are: {known}")]
        if found:
            raise GuestYamlError(found)
        own = {key: value for key, value in words.items() if key not in ("name", "image")}
        return Image(words["image"], own, self._catalogue / name / "files")


def _stored(reference: str, folder: Path) -> Image:
    path, name = reference, ""
    if not (folder / path).exists() and ":" in reference:
        path, _, name = reference.rpartition(":")
    if not (folder / path).exists():
        raise LookupError(f"no image at {(folder / path).resolve()}")
    try:
        image = find((folder / path).resolve(), name)
        return Image(unpack.name(image), _words(image), stored=image)
    except StoredImageError as error:
        raise LookupError(str(error)) from error


def _words(image: StoredImage) -> dict[str, Any]:
    """The configuration of an image in LinuxKit's words; those of its label go before Docker's own."""
    given = image.runtime
    words = {
        "command": [*(given.get("Entrypoint") or []), *(given.get("Cmd") or [])],
        "env": given.get("Env") or [],
        "cwd": given.get("WorkingDir") or "/",
    }
    if user := given.get("User"):
        ids = _USER.fullmatch(user)
        if ids:
            words |= {"uid": int(ids[1]), "gid": int(ids[2] or 0)}
        elif user != "root":
            raise LookupError(f"{image.path} runs as the user {user!r}; give it a uid and a gid here")
    label = Source(f"{image.path}: label {_LABEL}", (given.get("Labels") or {}).get(_LABEL) or "{}")
    found = [label.problem(place, text) for place, text in problems(yaml_schema.Keys(yaml_schema.OPTIONS), label.data)]
    if found:
        raise GuestYamlError(found)
    return {**words, **label.data}
