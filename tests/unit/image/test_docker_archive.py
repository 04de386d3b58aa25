from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from portchain.image.docker_archive import write_archive

CONFIG = {"Entrypoint": ["/bin/sh"], "ExposedPorts": {"80/tcp": {}}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "hostname").write_text("guest\n")
    (root / "etc" / "empty").touch()
    (root / "etc" / "hard").hardlink_to(root / "etc" / "hostname")
    (root / "etc" / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to(".")
    (root / "tool").write_bytes(b"#!" + bytes(100_000))
    (root / "tool").chmod(0o4755)
    os.mkfifo(root / "pipe")
    return root


class Archive:
    """What a reader of the archive sees, checked against its own manifest."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as outer:
            self.manifest: dict[str, Any] = json.loads(self._read(outer, "manifest.json"))[0]
            self.description_text = self._read(outer, self.manifest["Config"])
            self.layer = self._read(outer, self.manifest["Layers"][0])
            self.names = outer.getnames()
        self.description: dict[str, Any] = json.loads(self.description_text)

    @staticmethod
    def _read(outer: tarfile.TarFile, name: str) -> bytes:
        member = outer.extractfile(name)
        assert member is not None
        return member.read()


def build(root: Path, destination: Path) -> tuple[str, Archive]:
    image_id = write_archive(root, "portchain/test:1", CONFIG, destination)
    return image_id, Archive(destination)


def test_describes_itself_as_docker_load_expects(root: Path, tmp_path: Path) -> None:
    image_id, archive = build(root, tmp_path / "image.tar")
    assert archive.manifest["RepoTags"] == ["portchain/test:1"]
    assert image_id == f"sha256:{hashlib.sha256(archive.description_text).hexdigest()}"
    assert archive.manifest["Config"] == f"{image_id.removeprefix('sha256:')}.json"
    assert archive.description["config"] == CONFIG
    assert archive.description["os"] == "linux"
    digest = hashlib.sha256(archive.layer).hexdigest()
    assert archive.description["rootfs"]["diff_ids"] == [f"sha256:{digest}"]
    assert len(archive.names) == 3


def test_layer_unpacks_to_the_same_tree(root: Path, tmp_path: Path) -> None:
    _, archive = build(root, tmp_path / "image.tar")
    with tarfile.open(fileobj=io.BytesIO(archive.layer)) as inner:
        inner.extraction_filter = lambda member, _folder: member  # not by argument: Debian 12's Python has none
        inner.extractall(tmp_path / "copy")
    copy = tmp_path / "copy"

    def tree(top: Path) -> dict[str, tuple[int, int, int, int]]:
        paths = {str(path.relative_to(top)): path.lstat() for path in top.rglob("*")}
        # tarfile gives links the time of unpacking
        times = {name: 0 if stat.S_ISLNK(s.st_mode) else int(s.st_mtime) for name, s in paths.items()}
        return {name: (s.st_mode, s.st_uid, s.st_gid, times[name]) for name, s in paths.items()}

    assert tree(copy) == tree(root)
    assert (copy / "tool").read_bytes() == (root / "tool").read_bytes()
    assert (copy / "etc/hard").samefile(copy / "etc/hostname")
    assert (copy / "etc/dangling").readlink() == Path("nowhere")


def test_entries_carry_numeric_owners_only(root: Path, tmp_path: Path) -> None:
    _, archive = build(root, tmp_path / "image.tar")
    with tarfile.open(fileobj=io.BytesIO(archive.layer)) as inner:
        assert {(entry.uname, entry.gname) for entry in inner} == {("", "")}


def test_same_tree_gives_the_same_archive(root: Path, tmp_path: Path) -> None:
    first, _ = build(root, tmp_path / "first.tar")
    second, _ = build(root, tmp_path / "second.tar")
    assert first == second
    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()


def test_another_tree_gives_another_id(root: Path, tmp_path: Path) -> None:
    first, _ = build(root, tmp_path / "image.tar")
    (root / "etc" / "empty").write_text("no more")
    second, _ = build(root, tmp_path / "image.tar")
    assert first != second


def test_file_capability_survives_though_it_is_not_text(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = b"\x01\x00\x00\x02\x00\xff\x80\x00" + bytes(12)

    def getxattr(path: Path, name: str, *, follow_symlinks: bool) -> bytes:
        if path.name == "tool" and not follow_symlinks:
            return value
        raise OSError

    monkeypatch.setattr(os, "getxattr", getxattr)
    _, archive = build(root, tmp_path / "image.tar")
    assert b"SCHILY.xattr.security.capability=" + value + b"\n" in archive.layer
    assert archive.layer.count(b"SCHILY.xattr") == 1


def test_socket_is_refused(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("left.sock")
    with pytest.raises(ValueError, match=r"left\.sock: an image cannot hold a socket"):
        build(root, tmp_path / "image.tar")
