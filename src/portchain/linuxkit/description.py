"""Read a guest's YAML, check it and find its images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import host_sockets, schema
from .checks import VOLUME_NAME, Findings, check_container
from .images import Image, Images
from .paths import KINDS
from .yaml_source import MAX_SIZE, GuestYamlError, KeyPath, Problem, Source

ROOT = "guest"
_FIRST_ID = 100
_UNSUPPORTED: tuple[tuple[str, ...], ...] = (
    *(("userns",), ("uidMappings",), ("gidMappings",)),
    *(("runtime", key) for key in ("bindNS", "cgroups", "interfaces", "namespace")),
)
_EXPECTED_SERVICES = {
    "diagnose": "portchain status, trace, logs and shell get no answer",
    "docker": "there is no engine, so site.yml fails after booting",
    "vpnkit-forwarder": "no port of the host leads into the guest",
}
_CONTENT_KEYS = ("directory", "symlink", "contents", "source", "metadata")
_ADDED_KEYS = ("binds", "capabilities")


@dataclass(frozen=True)
class LinuxkitContainer:
    """A container: ``options`` are LinuxKit's, merged with its image's; ``files`` is laid over its image's root."""

    name: str
    image: str
    options: Mapping[str, Any]
    files: Path | None = None


@dataclass
class GuestYaml:
    """A guest: its containers and what they need; ``unsupported`` is what LinuxKit does, but this guest cannot."""

    containers: dict[str, list[LinuxkitContainer]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    files: list[dict[str, Any]] = field(default_factory=list)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    unsupported: list[Problem] = field(default_factory=list)


def read(path: Path, images: Images) -> GuestYaml:
    """Read the guest that the file ``path`` describes; raise GuestYamlError with all that is wrong."""
    try:
        with path.open() as file:
            text = file.read(MAX_SIZE + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise GuestYamlError([Problem(str(path), 1, (), f"cannot be read: {error}")]) from error
    return _GuestYamlReader(Source(str(path), text), path.parent, images).guest


def describe_missing_services(guest: GuestYaml) -> list[str]:
    """Return a sentence for each service that portchain relies on and ``guest`` does not have."""
    names = {container.name for container in guest.containers["services"]}
    return [f"no service {name}: {effect}" for name, effect in _EXPECTED_SERVICES.items() if name not in names]


def default_text(images: Images) -> str:
    """Return the YAML of the default guest, which has every service of the catalogue."""
    services = "".join(f"  - name: {name}\n    image: {name}\n" for name in images.services())
    return f"init:\n  - {ROOT}\nservices:\n{services}"


def read_default(images: Images) -> GuestYaml:
    """Return the default guest; raise GuestYamlError if the catalogue is wrong."""
    return _GuestYamlReader(Source("the default guest", default_text(images)), Path(), images).guest


class _GuestYamlReader:
    """Reads one file and collects what is wrong with it."""

    def __init__(self, source: Source, folder: Path, images: Images) -> None:
        self._source = source
        self._folder = folder
        self._images = images
        self._problems: list[Problem] = []
        self.guest = GuestYaml()
        data = source.data if source.data is not None else {}
        if data == {}:
            self._problems.append(source.problem((), f"is empty: a guest has {', '.join(KINDS)} or files"))
        self._note(schema.GUEST.problems(data, ()))
        if not self._problems:
            self._read(data)
        if self._problems:
            raise GuestYamlError(sorted(self._problems, key=lambda problem: (problem.file, problem.line)))

    def _note(self, findings: Findings, parent: KeyPath = ()) -> bool:
        """Note what is wrong at key paths below ``parent``; return whether nothing is."""
        problems = [self._source.problem((*parent, *key_path), text) for key_path, text in findings]
        self._problems += problems
        return not problems

    def _read(self, data: Mapping[str, Any]) -> None:
        self._note(_check_unique("services", data.get("services", [])))
        self._note(_check_unique("volumes", data.get("volumes", [])))
        self._note(_check_volume_names(data.get("volumes", [])))
        self._check_init(data.get("init", []))
        volumes = {volume["name"] for volume in data.get("volumes", [])}
        for kind in KINDS:
            for number, options in enumerate(data.get(kind, [])):
                self._read_container(kind, (kind, number), options, volumes)
        if not self._problems:
            self._check_host_sockets()
        names = [container.name for kind in KINDS for container in self.guest.containers[kind]]
        self.guest.ids = {name: _FIRST_ID + number for number, name in enumerate(dict.fromkeys(names))}
        for number, volume in enumerate(data.get("volumes", [])):
            self._read_volume(("volumes", number), volume)
        for number, file in enumerate(data.get("files", [])):
            self._read_file(("files", number), file)

    def _check_host_sockets(self) -> None:
        services = self.guest.containers["services"]
        annotations = ((service.name, service.options.get("annotations", {})) for service in services)
        findings = host_sockets.check_annotations(annotations)
        self._note(((("services", number, "annotations"), text) for number, text in findings))

    def _read_volume(self, key_path: KeyPath, volume: dict[str, Any]) -> None:
        image = self._find_image(volume["image"], (*key_path, "image")) if volume.get("image") else None
        key = image.key if image else None
        self.guest.volumes.append({"name": volume["name"], "readonly": volume.get("readonly", False), "image": key})

    def _check_init(self, init: list[str]) -> None:
        for number, reference in enumerate(init):
            if reference != ROOT:
                self._note_unsupported(("init", number), f"only the package set {ROOT!r} is unpacked here")

    def _note_unsupported(self, key_path: KeyPath, text: str) -> None:
        self.guest.unsupported.append(self._source.problem(key_path, text))

    def _find_image(self, reference: str, key_path: KeyPath) -> Image | None:
        try:
            image = self._images.find(reference, self._folder)
        except LookupError as error:
            self._problems.append(self._source.problem(key_path, str(error.args[0])))
            return None
        except GuestYamlError as error:
            self._problems += error.problems
            return None
        if image is None:
            closest = self._images.closest(reference)
            remedy = f"{closest} is meant?" if closest else "put it on disk (skopeo copy … oci:DIR), name its path"
            self._note_unsupported(key_path, f"{reference!r} is a registry's; {remedy}")
        else:
            self.guest.images[image.key] = image
        return image

    def _read_container(self, kind: str, key_path: KeyPath, own: dict[str, Any], volumes: set[str]) -> None:
        if not self._note(check_container(schema.CONTAINER, own), key_path):
            return
        for number, bind in enumerate(own.get("binds", [])):
            source = bind.partition(":")[0]
            if not source.startswith("/") and source not in volumes:
                known = ", ".join(sorted(volumes)) or "there are none"
                self._note(iter([(("binds", number), f"no volume {source!r}: {known}")]), key_path)
        for path in _UNSUPPORTED:
            if _is_set(own, path):
                self._note_unsupported((*key_path, *path), "is not supported here")
        image = self._find_image(own["image"], (*key_path, "image"))
        if image is None:
            return
        own_options = {key: value for key, value in own.items() if key not in ("name", "image")}
        options = merge_options(image.options, own_options)
        if not options.get("command"):
            self._note(iter([(("command",), "is required, for the image has none")]), key_path)
        self.guest.containers[kind].append(LinuxkitContainer(own["name"], image.key, options, image.files))

    def _read_file(self, key_path: KeyPath, file: dict[str, Any]) -> None:
        if not file["path"].strip("/") or "\0" in file["path"]:
            self._note(iter([(("path",), f"{file['path']!r} is not the path of a file")]), key_path)
        kinds = [key for key in _CONTENT_KEYS if file.get(key) not in (None, False)]
        if len(kinds) > 1:
            self._note(iter([((), f"is one of {' and '.join(kinds)}, not both")]), key_path)
        if "mode" in file and not _is_octal(file["mode"]):
            self._note(iter([(("mode",), f"{file['mode']!r} is not an octal number such as '0644'")]), key_path)
        if file.get("metadata"):
            self._note_unsupported((*key_path, "metadata"), "is not supported here")
        source = self._folder / file["source"] if file.get("source") else None
        if source and not _is_file(source) and not file.get("optional"):
            self._note(iter([(("source",), f"no file {source}")]), key_path)
        self.guest.files.append(file | ({"source": str(source)} if source else {}))


def merge_options(image: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a container's options over its image's: a key replaces, ``capabilities.add`` and ``binds.add`` add."""
    options = {**image, **own}
    for key in _ADDED_KEYS:
        added = options.pop(f"{key}.add", [])
        if added and key not in own:
            options[key] = [*image.get(key, []), *added]
    if image.get("runtime") and own.get("runtime"):
        options["runtime"] = {**image["runtime"], **own["runtime"]}
    return options


def _check_unique(kind: str, entries: list[dict[str, Any]]) -> Findings:
    names = [entry["name"] for entry in entries]
    for number, name in enumerate(names):
        if name in names[:number]:
            yield (kind, number, "name"), f"{name!r} is there twice"


def _check_volume_names(volumes: list[dict[str, Any]]) -> Findings:
    for number, volume in enumerate(volumes):
        if not VOLUME_NAME.fullmatch(volume["name"]):
            yield (
                ("volumes", number, "name"),
                f"{volume['name']!r} is not a name: use lower-case letters, digits, - and _",
            )


def _is_set(value: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value not in (None, [], {}, "")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _is_octal(text: str) -> bool:
    return text != "" and set(text) <= set("01234567")
