"""A guest as LinuxKit describes it: a file read, checked, and its images found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import yaml_schema
from .places import KINDS
from .yaml_checks import VOLUME_NAME, problems
from .yaml_images import Image, Images
from .yaml_source import GuestYamlError, Place, Problem, Source

ROOT = "guest"
_FIRST_ID = 100
_NOT_DONE: tuple[tuple[str, ...], ...] = (
    *(("userns",), ("uidMappings",), ("gidMappings",)),
    *(("runtime", key) for key in ("bindNS", "cgroups", "interfaces", "namespace")),
)
_CONTENTS = ("directory", "symlink", "contents", "source", "metadata")
_ADDED = ("binds", "capabilities")


@dataclass(frozen=True)
class Container:
    """A container: ``words`` are LinuxKit's, its image's own among them; ``files`` is laid over its image's root."""

    name: str
    image: str
    words: Mapping[str, Any]
    files: Path | None = None


@dataclass
class GuestYaml:
    """A guest. ``images`` have to be unpacked; ``unfit`` is what LinuxKit does, and this guest does not."""

    containers: dict[str, list[Container]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    files: list[dict[str, Any]] = field(default_factory=list)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    unfit: list[Problem] = field(default_factory=list)


def read(path: Path, images: Images) -> GuestYaml:
    """The guest that the file ``path`` describes. Raises GuestYamlError with all that is wrong."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise GuestYamlError([Problem(str(path), 1, (), f"cannot be read: {error}")]) from error
    return _Reader(Source(str(path), text), path.parent, images).guest


class _Reader:
    """Reads one file, collecting what is wrong on the way."""

    def __init__(self, source: Source, folder: Path, images: Images) -> None:
        self._source = source
        self._folder = folder
        self._images = images
        self._problems: list[Problem] = []
        self.guest = GuestYaml()
        data = source.data if source.data is not None else {}
        self._note(yaml_schema.GUEST.problems(data, ()))
        if not self._problems:
            self._read(data)
        if self._problems:
            raise GuestYamlError(sorted(self._problems, key=lambda problem: (problem.file, problem.line)))

    def _note(self, found: Iterator[tuple[Place, str]], below: Place = ()) -> bool:
        here = [self._source.problem((*below, *place), text) for place, text in found]
        self._problems += here
        return not here

    def _read(self, data: Mapping[str, Any]) -> None:
        self._note(_twice("services", data.get("services", [])))
        self._note(_twice("volumes", data.get("volumes", [])))
        self._note(_volume_names(data.get("volumes", [])))
        self._init(data.get("init", []))
        volumes = {volume["name"] for volume in data.get("volumes", [])}
        for kind in KINDS:
            for number, words in enumerate(data.get(kind, [])):
                self._container(kind, (kind, number), words, volumes)
        names = [container.name for kind in KINDS for container in self.guest.containers[kind]]
        self.guest.ids = {name: _FIRST_ID + number for number, name in enumerate(dict.fromkeys(names))}
        for number, volume in enumerate(data.get("volumes", [])):
            image = self._image(volume["image"], ("volumes", number, "image")) if volume.get("image") else None
            self.guest.volumes.append({"name": volume["name"], "readonly": volume.get("readonly", False)})
            self.guest.volumes[-1]["image"] = image.key if image else None
        for number, file in enumerate(data.get("files", [])):
            self._file(("files", number), file)

    def _init(self, init: list[str]) -> None:
        for number, reference in enumerate(init):
            if reference != ROOT:
                self._unfit(("init", number), f"only {ROOT!r}, the package set, is unpacked here")

    def _unfit(self, place: Place, text: str) -> None:
        self.guest.unfit.append(self._source.problem(place, text))

    def _image(self, reference: str, place: Place) -> Image | None:
        try:
            image = self._images.find(reference, self._folder)
        except LookupError as error:
            self._problems.append(self._source.problem(place, str(error.args[0])))
            return None
        except GuestYamlError as error:
            self._problems += error.problems
            return None
        if image is None:
            self._unfit(place, f"{reference!r} is a registry's; put it on disk (skopeo copy … oci:DIR), name its path")
        else:
            self.guest.images[image.key] = image
        return image

    def _container(self, kind: str, place: Place, own: dict[str, Any], volumes: set[str]) -> None:
        if not self._note(problems(yaml_schema.CONTAINER, own), place):
            return
        for number, bind in enumerate(own.get("binds", [])):
            source = bind.partition(":")[0]
            if not source.startswith("/") and source not in volumes:
                known = ", ".join(sorted(volumes)) or "there are none"
                self._note(iter([(("binds", number), f"no volume {source!r}: {known}")]), place)
        for path in _NOT_DONE:
            if _within(own, path):
                self._unfit((*place, *path), "is not done here")
        image = self._image(own["image"], (*place, "image"))
        if image is None:
            return
        words = merged(image.words, {key: value for key, value in own.items() if key not in ("name", "image")})
        if not words.get("command"):
            self._note(iter([(("command",), "is required, for the image has none")]), place)
        self.guest.containers[kind].append(Container(own["name"], image.key, words, image.files))

    def _file(self, place: Place, file: dict[str, Any]) -> None:
        kinds = [key for key in _CONTENTS if file.get(key) not in (None, False)]
        if len(kinds) > 1:
            self._note(iter([((), f"is one of {' and '.join(kinds)}, not both")]), place)
        if "mode" in file and not _octal(file["mode"]):
            self._note(iter([(("mode",), f"{file['mode']!r} is no octal number, such as '0644'")]), place)
        if file.get("metadata"):
            self._unfit((*place, "metadata"), "is not done here")
        source = self._folder / file["source"] if file.get("source") else None
        if source and not source.is_file() and not file.get("optional"):
            self._note(iter([(("source",), f"no file {source}")]), place)
        self.guest.files.append(file | ({"source": str(source)} if source else {}))


def merged(image: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A container's words over its image's: a key replaces, ``capabilities.add`` and ``binds.add`` add."""
    words = {**image, **own}
    for key in _ADDED:
        added = words.pop(f"{key}.add", [])
        if added and key not in own:
            words[key] = [*image.get(key, []), *added]
    if image.get("runtime") and own.get("runtime"):
        words["runtime"] = {**image["runtime"], **own["runtime"]}
    return words


def _twice(kind: str, entries: list[dict[str, Any]]) -> Iterator[tuple[Place, str]]:
    names = [entry["name"] for entry in entries]
    for number, name in enumerate(names):
        if name in names[:number]:
            yield (kind, number, "name"), f"{name!r} is there twice"


def _volume_names(volumes: list[dict[str, Any]]) -> Iterator[tuple[Place, str]]:
    for number, volume in enumerate(volumes):
        if not VOLUME_NAME.fullmatch(volume["name"]):
            yield ("volumes", number, "name"), f"{volume['name']!r} is no name: lower-case letters, digits, - and _"


def _within(words: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        words = words.get(key) if isinstance(words, dict) else None
    return words not in (None, [], {}, "")


def _octal(text: str) -> bool:
    return text != "" and set(text) <= set("01234567")
