"""Unpacking an image's layers over each other, whiteouts applied, in a child that cannot leave the folder."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import IO

from .builder import alone
from .stored import StoredImage, StoredImageError

_XATTR = "SCHILY.xattr."
_CAPABILITY = "security.capability"
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


def name(image: StoredImage) -> str:
    """What the unpacked image is called."""
    return f"oci-{image.id[:12]}"


def into_cache(image: StoredImage, cache: Path) -> bool:
    """Have the image's root file system in ``cache`` under its `name`; returns whether it was unpacked now."""
    destination = cache / name(image)
    cache.mkdir(parents=True, exist_ok=True)
    with alone(cache):
        if destination.exists():
            return False
        half = destination.with_suffix(".half")
        subprocess.run(["rm", "-rf", "--one-file-system", str(half)], timeout=300, check=True)
        half.mkdir(mode=0o755)
        for number, digest in enumerate(image.diff_ids):
            with image.open_layer(number) as layer:
                apply(layer, half, f"layer {number + 1} of image {image.path}", digest)
        half.rename(destination)
    return True


def apply(layer: IO[bytes], root: Path, what: str, digest: str) -> None:
    """Apply one layer, a tar stream, to ``root``; raises StoredImageError where it is not what ``digest`` says."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.chroot(root)
            os.chdir("/")
            found = _apply_here(layer)
            os.write(write, b"" if found == digest else f"its digest is {found}, not {digest}".encode())
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


def _apply_here(layer: IO[bytes]) -> str:
    """Apply it to the working folder; returns its digest."""
    stream = _Hashing(layer)
    own: set[Path] = set()
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        tar.extraction_filter = staticmethod(lambda member, _: member)
        for member in tar:
            path = Path(os.path.normpath(f"/{member.name}"))
            if path.name.startswith(_WHITEOUT):
                _white_out(path, own)
            elif path != Path("/"):
                own |= {path, *path.parents}
                _extract(tar, member, path)
    while stream.read(1 << 20):
        pass
    return f"sha256:{stream.sha256.hexdigest()}"


def _white_out(marker: Path, own: set[Path]) -> None:
    """Remove what lower layers have: one name, or all of a folder."""
    if marker.name == _OPAQUE:
        folder = marker.parent
        gone = list(folder.iterdir()) if folder.is_dir() else []
    else:
        gone = [marker.with_name(marker.name.removeprefix(_WHITEOUT))]
    for path in gone:
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


class _Hashing(io.RawIOBase):
    """A stream to read that knows the SHA-256 of what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data
