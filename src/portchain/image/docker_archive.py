"""Write an image that `docker load` reads: one layer, made from a directory."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import platform
import tarfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
CAPABILITY = "security.capability"


def write_archive(root: Path, reference: str, config: Mapping[str, Any], destination: Path) -> str:
    """Write the tree under ``root`` to ``destination`` as an image named ``reference``; return its id.

    ``config`` is the image's configuration with Docker's keys (Entrypoint, Env, ExposedPorts …). The same tree gives
    the same archive. Raise ValueError if the tree has a socket, which an image cannot hold; the caller must remove what
    was written until then.
    """
    with destination.open("wb") as file:
        return _write_image(root, reference, config, file)


def _write_image(root: Path, reference: str, config: Mapping[str, Any], file: IO[bytes]) -> str:
    """Write the layer first; write its header, which has its size and digest, last."""
    file.write(bytes(tarfile.BLOCKSIZE))
    layer = _HashingWriter(file)
    _write_layer(root, layer)
    digest = layer.sha256.hexdigest()
    layer_name = f"{digest}/layer.tar"
    file.write(bytes(-layer.size % tarfile.BLOCKSIZE))

    description = json.dumps(_description(root, config, digest), sort_keys=True).encode()
    image = hashlib.sha256(description).hexdigest()
    manifest = [{"Config": f"{image}.json", "RepoTags": [reference], "Layers": [layer_name]}]
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.GNU_FORMAT) as outer:
        for name, content in {
            f"{image}.json": description,
            "manifest.json": json.dumps(manifest).encode(),
        }.items():
            outer.addfile(_header(name, len(content)), io.BytesIO(content))

    file.seek(0)
    file.write(_header(layer_name, layer.size).tobuf(tarfile.GNU_FORMAT))
    return f"sha256:{image}"


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size = size
    return header


def _description(root: Path, config: Mapping[str, Any], digest: str) -> dict[str, Any]:
    created = datetime.fromtimestamp(int(root.stat().st_mtime), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    machine = platform.machine()
    return {
        "architecture": ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "created": created,
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": created, "created_by": "portchain"}],
    }


def _write_layer(root: Path, output: _HashingWriter) -> None:
    with tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT) as layer:
        for path in _tree(root):
            entry = layer.gettarinfo(path, arcname=str(path.relative_to(root)))
            if entry is None:
                raise ValueError(f"{path}: an image cannot hold a socket; remove it from the tree")
            entry.uname = entry.gname = ""
            entry.mtime = int(entry.mtime)
            entry.pax_headers = _capability(path)
            with path.open("rb") if entry.isreg() else contextlib.nullcontext() as content:
                layer.addfile(entry, content)


def _tree(directory: Path) -> Iterator[Path]:
    """Yield everything below ``directory``, parents before children, in the order of names."""
    for path in sorted(directory.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _tree(path)


def _capability(path: Path) -> dict[str, str]:
    """Return file capabilities as the pax record that Docker reads; other attributes belong to the building host."""
    try:
        value = os.getxattr(path, CAPABILITY, follow_symlinks=False)
    except OSError:
        return {}
    return {f"SCHILY.xattr.{CAPABILITY}": value.decode("utf-8", "surrogateescape")}


class _HashingWriter(io.RawIOBase):
    """A file to write to that computes the size and SHA-256 of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self.file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: Buffer, /) -> int:
        self.sha256.update(data)
        self.size += memoryview(data).nbytes
        return self.file.write(data)
