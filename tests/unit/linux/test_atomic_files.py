from __future__ import annotations

import stat
from pathlib import Path

import pytest

from portchain.linux import atomic_files


def test_a_file_is_replaced_with_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    atomic_files.replace(path, "one")
    before = path.stat().st_ino
    atomic_files.replace(path, "two", 0o600)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("two", 0o600)
    assert path.stat().st_ino != before
    assert [one.name for one in tmp_path.iterdir()] == ["state.json"]


def test_a_file_that_cannot_be_written_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    atomic_files.replace(path, "one")
    (tmp_path / "state.json.new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        atomic_files.replace(path, "two")
    assert path.read_text() == "one"
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_holds_the_text_already_is_left(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert atomic_files.update(path, "one")
    before = path.stat().st_ino
    assert not atomic_files.update(path, "one")
    assert path.stat().st_ino == before
