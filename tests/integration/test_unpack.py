"""Layers over each other, as root: what an image's author can put into them stays within the folder."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from portchain.image.docker_archive import write_archive
from portchain.linuxkit import layers
from portchain.linuxkit.stored_image import StoredImageError, find_image

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="chroot is root's")


def layer(*entries: tuple[str, Any]) -> bytes:
    """A tar of entries: text is a file, None a folder, a tuple (type, target) a link."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
                info.mode = 0o750
            elif isinstance(content, tuple):
                info.type, info.linkname = content
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content.encode()) if isinstance(content, str) else None)
    return stream.getvalue()


def apply(root: Path, data: bytes, digest: str | None = None) -> None:
    found = f"sha256:{hashlib.sha256(data).hexdigest()}"
    layers.apply_layer(io.BytesIO(data), root, "layer 1", digest or found)


def names(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_a_whiteout_hides_what_is_below_it(tmp_path: Path) -> None:
    apply(tmp_path, layer(("a", None), ("a/b", "1"), ("a/c", "2"), ("d", None), ("d/e", "3")))
    apply(tmp_path, layer(("a/.wh.b", ""), (".wh.d", "")))
    assert names(tmp_path) == ["a", "a/c"]


def test_an_opaque_folder_keeps_what_comes_with_it(tmp_path: Path) -> None:
    apply(tmp_path, layer(("a", None), ("a/old", "1"), ("a/sub", None), ("a/sub/old", "2")))
    apply(tmp_path, layer(("a", None), ("a/new", "3"), ("a/.wh..wh..opq", ""), ("a/later", "4")))
    assert names(tmp_path) == ["a", "a/later", "a/new"]


def test_kinds_replace_each_other(tmp_path: Path) -> None:
    apply(tmp_path, layer(("a", None), ("a/b", "1"), ("c", "2"), ("l", (tarfile.SYMTYPE, "a"))))
    apply(tmp_path, layer(("a", "file"), ("c", None), ("l", None), ("hard", (tarfile.LNKTYPE, "a"))))
    assert names(tmp_path) == ["a", "c", "hard", "l"]
    assert (tmp_path / "l").is_dir() and not (tmp_path / "l").is_symlink()
    assert (tmp_path / "hard").samefile(tmp_path / "a")
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("way", ["../out/x", "/out/x", "link/x"])
def test_nothing_gets_out(tmp_path: Path, way: str) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    root.mkdir()
    out.mkdir()
    apply(root, layer(("link", (tarfile.SYMTYPE, str(out))), ("out", None), (str(out).lstrip("/"), None), (way, "x")))
    assert not list(out.iterdir())


def test_a_layer_that_is_another_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoredImageError, match=r"layer 1: its digest is sha256:.*, not sha256:0"):
        apply(tmp_path, layer(("a", "1")), "sha256:0")


def test_a_broken_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoredImageError, match="layer 1: "):
        apply(tmp_path, layer(("a", "1" * 2000))[:1024])


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_a_device_node_is_refused_by_name(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(StoredImageError, match=r"layer 1: '/dev/disk' is a device node, .*: build the image without"):
        apply(tmp_path, layer(("dev", None), ("./dev/../dev/disk", (kind, ""))))
    assert names(tmp_path) == ["dev"]


def test_a_named_pipe_is_kept(tmp_path: Path) -> None:
    apply(tmp_path, layer(("pipe", (tarfile.FIFOTYPE, ""))))
    assert (tmp_path / "pipe").is_fifo()


def test_an_image_is_unpacked_once_with_its_owners_and_capabilities(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "ping").write_text("x")
    os.chown(root / "ping", 7, 8)
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(root / "ping", "security.capability", capability)
    write_archive(root, "own/ping:1", {}, tmp_path / "a.tar")
    image = find_image(tmp_path / "a.tar")
    assert layers.unpack(image, tmp_path / "cache")
    assert not layers.unpack(image, tmp_path / "cache")
    unpacked = tmp_path / "cache" / layers.root_name(image) / "ping"
    assert (unpacked.stat().st_uid, unpacked.stat().st_gid) == (7, 8)
    assert os.getxattr(unpacked, "security.capability") == capability
