"""Images on disk: OCI layouts, as folders or tarballs, and what ``docker save`` writes."""

from __future__ import annotations

import gzip
import hashlib
import json
import platform
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from ..docker_archive import ARCHITECTURES

_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_NAME = "org.opencontainers.image.ref.name"
_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP = b"\x1f\x8b"


class StoredImageError(Exception):
    """There is no image at a path, or it cannot be used; the message says which and why."""


@dataclass(frozen=True)
class StoredImage:
    """An image at ``path``: its configuration in OCI words, its ``layers``' places there, its id (sha256, hex)."""

    path: Path
    config: dict[str, Any]
    layers: tuple[str, ...]
    id: str

    @property
    def runtime(self) -> dict[str, Any]:
        """How its containers run: Entrypoint, Cmd, Env, WorkingDir, User, Labels."""
        return self.config.get("config") or {}

    @property
    def diff_ids(self) -> list[str]:
        """The layers' digests, uncompressed."""
        return list(self.config["rootfs"]["diff_ids"])

    @contextmanager
    def open_layer(self, number: int) -> Iterator[IO[bytes]]:
        """The layer's tar, uncompressed."""
        with _opened(self.path) as place, place.open(self.layers[number]) as file:
            head = file.read(4)
            file.seek(0)
            if head.startswith(_ZSTD):
                raise StoredImageError(f"host: image {self.path}: zstd layers cannot be read; store it with gzip")
            if head.startswith(_GZIP):
                with gzip.open(file) as plain:
                    yield cast(IO[bytes], plain)
            else:
                yield file


def find(path: Path, name: str = "") -> StoredImage:
    """The image at ``path``, the one called ``name`` where there are several. Raises StoredImageError."""
    try:
        with _opened(path) as place:
            if place.has("index.json"):
                manifest = _oci_manifest(place, json.loads(place.read("index.json")), name)
                config, layers = _blob(manifest["config"]), tuple(_blob(layer) for layer in manifest["layers"])
            elif place.has("manifest.json"):
                manifest = _named(json.loads(place.read("manifest.json")), name, lambda one: one.get("RepoTags") or [])
                config, layers = manifest["Config"], tuple(manifest["Layers"])
            else:
                raise StoredImageError(f"host: {path}: no image: neither index.json nor manifest.json is in it")
            data = place.read(config)
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise StoredImageError(f"host: {path}: no image that can be read: {error}") from error
    return StoredImage(path, json.loads(data), layers, hashlib.sha256(data).hexdigest())


def _oci_manifest(place: _Place, index: dict[str, Any], name: str) -> dict[str, Any]:
    found = _named(index["manifests"], name, lambda one: [(one.get("annotations") or {}).get(_NAME, "")])
    document: dict[str, Any] = json.loads(place.read(_blob(found)))
    if found.get("mediaType") in _INDEXES or "manifests" in document:
        ours = ARCHITECTURES.get(platform.machine(), platform.machine())
        fitting = [m for m in document["manifests"] if (m.get("platform") or {}).get("architecture", ours) == ours]
        if not fitting:
            raise ValueError(f"it has nothing for {ours}")
        document = json.loads(place.read(_blob(fitting[0])))
    return document


def _named(entries: list[dict[str, Any]], name: str, names: Any) -> dict[str, Any]:
    fitting = [one for one in entries if not name or name in names(one)]
    if len(fitting) != 1:
        known = sorted(known for one in entries for known in names(one) if known)
        there = ", ".join(known) or f"{len(entries)}, unnamed"
        raise ValueError(f"{f'no image {name!r}' if name else 'which image is meant'}; there are: {there}")
    return fitting[0]


def _blob(descriptor: dict[str, Any]) -> str:
    algorithm, _, digest = str(descriptor["digest"]).partition(":")
    if not (algorithm.isalnum() and digest.isalnum()):
        raise ValueError(f"{descriptor['digest']!r} is no digest")
    return f"blobs/{algorithm}/{digest}"


class _Place:
    """A folder, or a tarball that holds the same."""

    def __init__(self, path: Path, tar: tarfile.TarFile | None) -> None:
        self._path = path
        self._members = {m.name.removeprefix("./"): m for m in tar} if tar else {}
        self._tar = tar

    def has(self, name: str) -> bool:
        return name in self._members if self._tar else (self._path / name).is_file()

    def open(self, name: str) -> IO[bytes]:
        if not self._tar:
            return (self._path / name).open("rb")
        member = self._members[name]
        file = self._tar.extractfile(self._members[member.linkname] if member.issym() else member)
        if file is None:
            raise ValueError(f"{name} is no file")
        return file

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            return file.read()


@contextmanager
def _opened(path: Path) -> Iterator[_Place]:
    if path.is_dir():
        yield _Place(path, None)
    else:
        with tarfile.open(path) as tar:
            yield _Place(path, tar)
