"""Unpack an image's layers over each other, whiteouts applied, in a child process confined to the folder."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import IO

from ..image.builder import lock_cache
from .stored_image import StoredImage, StoredImageError

_XATTR = "SCHILY.xattr."
_CAPABILITY = "security.capability"
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


def root_name(image: StoredImage) -> str:
    """Return the name of the unpacked image's root."""
    return f"oci-{image.id[:12]}"


def unpack(image: StoredImage, cache: Path) -> bool:
    """Unpack the image's root file system into ``cache`` under its `root_name`; return whether it was unpacked now."""
    destination = cache / root_name(image)
    cache.mkdir(parents=True, exist_ok=True)
    with lock_cache(cache):
        if destination.exists():
            return False
        partial = destination.with_suffix(".half")
        subprocess.run(["rm", "-rf", "--one-file-system", str(partial)], timeout=300, check=True)
        partial.mkdir(mode=0o755)
        for number, digest in enumerate(image.diff_ids):
            with image.open_layer(number) as layer:
                apply_layer(layer, partial, f"layer {number + 1} of image {image.path}", digest)
        partial.rename(destination)
    return True


def apply_layer(layer: IO[bytes], root: Path, what: str, digest: str) -> None:
    """Apply one layer, a tar stream, to ``root``; raise StoredImageError, also if its digest is not ``digest``.

    ``what`` names the layer in messages.
    """
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.chroot(root)
            os.chdir("/")
            actual = _apply_in_root(layer)
            os.write(write, b"" if actual == digest else f"its digest is {actual}, not {digest}".encode())
        except StoredImageError as error:
            os.write(write, str(error).encode(errors="backslashreplace")[:4096])
        except BaseException as error:
            os.write(write, f"{type(error).__name__}: {error}".encode()[:4096])
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        problem = answer.read().decode()
    _, status = os.waitpid(child, 0)
    if problem or status:
        raise StoredImageError(f"host: {what}: {problem or f'ended with status {status}'}")


def _apply_in_root(layer: IO[bytes]) -> str:
    """Apply a layer to the process's root; return its digest."""
    stream = _HashingReader(layer)
    own: set[Path] = set()
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        tar.extraction_filter = staticmethod(lambda member, _: member)
        for member in tar:
            path = Path(os.path.normpath(f"/{member.name}"))
            if member.isdev() and not member.isfifo():
                text = (
                    f"{str(path)!r} is a device node, and a guest gets none of an image's: build the image without it"
                )
                raise StoredImageError(text)
            if path.name.startswith(_WHITEOUT):
                _white_out(path, own)
            elif path != Path("/"):
                own |= {path, *path.parents}
                _extract(tar, member, path)
    while stream.read(1 << 20):
        pass
    return f"sha256:{stream.sha256.hexdigest()}"


def _white_out(marker: Path, own: set[Path]) -> None:
    """Remove what lower layers have and ``marker`` hides: one name, or all of a folder."""
    if marker.name == _OPAQUE:
        folder = marker.parent
        hidden = list(folder.iterdir()) if folder.is_dir() else []
    else:
        hidden = [marker.with_name(marker.name.removeprefix(_WHITEOUT))]
    for path in hidden:
        if path not in own:
            _remove(path)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    if not (member.isdir() and path.is_dir() and not path.is_symlink()):
        _remove(path)
    tar.extract(member, "/", numeric_owner=True)
    capability = member.pax_headers.get(_XATTR + _CAPABILITY)
    if capability:
        os.setxattr(path, _CAPABILITY, capability.encode("utf-8", "surrogateescape"), follow_symlinks=False)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class _HashingReader(io.RawIOBase):
    """A stream to read that computes the SHA-256 of what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data
