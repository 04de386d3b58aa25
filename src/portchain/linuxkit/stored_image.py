"""Read images on disk: OCI layouts, as folders or tarballs, and what ``docker save`` writes."""

from __future__ import annotations

import gzip
import hashlib
import json
import platform
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from ..image.docker_archive import ARCHITECTURES

_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_NAME = "org.opencontainers.image.ref.name"
_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP = b"\x1f\x8b"
_MAX_DOCUMENT = 16 * 1024 * 1024  # bytes of an index, a manifest or a configuration
_UNREADABLE = (
    OSError,
    tarfile.TarError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    RecursionError,
    zlib.error,
    EOFError,
)


class StoredImageError(Exception):
    """No image is at a path, or it cannot be used; the message says which and why."""


@dataclass(frozen=True)
class StoredImage:
    """An image at ``path``: its OCI configuration, the paths of its ``layers`` in it, its id (SHA-256, hexadecimal)."""

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
        """The digests of the layers, uncompressed."""
        return list(self.config["rootfs"]["diff_ids"])

    @contextmanager
    def open_layer(self, number: int) -> Iterator[IO[bytes]]:
        """Open a layer's uncompressed tar; raise StoredImageError."""
        with _open_files(self.path) as files, files.open(self.layers[number]) as file:
            head = file.read(4)
            file.seek(0)
            if head.startswith(_ZSTD):
                raise StoredImageError(f"host: image {self.path}: zstd layers cannot be read; store it with gzip")
            if head.startswith(_GZIP):
                with gzip.open(file) as plain:
                    yield cast(IO[bytes], plain)
            else:
                yield file


def find_image(path: Path, name: str = "") -> StoredImage:
    """Read the image at ``path``, the one called ``name`` if there are several; raise StoredImageError."""
    try:
        with _open_files(path) as files:
            if files.has("index.json"):
                manifest = _oci_manifest(files, json.loads(files.read("index.json")), name)
                config, layers = (
                    _blob_path(manifest["config"]),
                    tuple(_blob_path(layer) for layer in manifest["layers"]),
                )
            elif files.has("manifest.json"):
                manifest = _select(
                    json.loads(files.read("manifest.json")), name, lambda entry: entry.get("RepoTags") or []
                )
                config, layers = manifest["Config"], tuple(manifest["Layers"])
            else:
                raise StoredImageError(f"host: {path}: no image: it has neither index.json nor manifest.json")
            data = files.read(config)
        return StoredImage(path, _parse_config(data, len(layers)), layers, hashlib.sha256(data).hexdigest())
    except _UNREADABLE as error:
        raise StoredImageError(f"host: {path}: no image that can be read: {error}") from error


def _parse_config(data: bytes, layers: int) -> dict[str, Any]:
    """Parse an image's configuration; raise ValueError, KeyError or TypeError if it does not fit so many ``layers``."""
    config: dict[str, Any] = json.loads(data)
    if not isinstance(config, dict) or not isinstance(config.get("config") or {}, dict):
        raise ValueError("its configuration is not an object")
    digests = config["rootfs"]["diff_ids"]
    if len(digests) != layers or not all(isinstance(digest, str) for digest in digests):
        raise ValueError(f"its configuration does not name its {layers} layers")
    return config


def _oci_manifest(files: _ImageFiles, index: dict[str, Any], name: str) -> dict[str, Any]:
    selected = _select(index["manifests"], name, lambda entry: [(entry.get("annotations") or {}).get(_NAME, "")])
    document: dict[str, Any] = json.loads(files.read(_blob_path(selected)))
    if selected.get("mediaType") in _INDEXES or "manifests" in document:
        architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
        matching = [
            manifest
            for manifest in document["manifests"]
            if (manifest.get("platform") or {}).get("architecture", architecture) == architecture
        ]
        if not matching:
            raise ValueError(f"it has nothing for {architecture}")
        document = json.loads(files.read(_blob_path(matching[0])))
    return document


def _select(entries: list[dict[str, Any]], name: str, names: Any) -> dict[str, Any]:
    """Return the entry called ``name``, or the only one; ``names`` returns an entry's names. Raise ValueError."""
    matching = [entry for entry in entries if not name or name in names(entry)]
    if len(matching) != 1:
        known = sorted(known for entry in entries for known in names(entry) if known)
        present = ", ".join(known) or f"{len(entries)}, unnamed"
        raise ValueError(f"{f'no image {name!r}' if name else 'which image is meant'}; there are: {present}")
    return matching[0]


def _blob_path(descriptor: dict[str, Any]) -> str:
    algorithm, _, digest = str(descriptor["digest"]).partition(":")
    if not (algorithm.isalnum() and digest.isalnum()):
        raise ValueError(f"{descriptor['digest']!r} is not a digest")
    return f"blobs/{algorithm}/{digest}"


class _ImageFiles:
    """The files of a folder, or of a tarball of it."""

    def __init__(self, path: Path, tar: tarfile.TarFile | None) -> None:
        self._path = path
        self._members = {member.name.removeprefix("./"): member for member in tar} if tar else {}
        self._tar = tar

    def has(self, name: str) -> bool:
        return name in self._members if self._tar else (self._path / name).is_file()

    def open(self, name: str) -> IO[bytes]:
        """Open a file of the image; raise StoredImageError for one beside it."""
        if not self._tar:
            file = (self._path / name).resolve()
            if not file.is_relative_to(self._path.resolve()):
                raise StoredImageError(f"host: image {self._path}: {name} is not in the image")
            return file.open("rb")
        member = self._members[name]
        content = self._tar.extractfile(self._members[member.linkname] if member.issym() else member)
        if content is None:
            raise ValueError(f"{name} is not a file")
        return content

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            data = file.read(_MAX_DOCUMENT + 1)
        if len(data) > _MAX_DOCUMENT:
            raise ValueError(f"{name} has more than {_MAX_DOCUMENT} bytes")
        return data


@contextmanager
def _open_files(path: Path) -> Iterator[_ImageFiles]:
    if path.is_dir():
        yield _ImageFiles(path, None)
    else:
        with tarfile.open(path) as tar:
            yield _ImageFiles(path, tar)
