from __future__ import annotations

import os
from pathlib import Path

import pytest

from portchain.linux.group_trees import remove_trees, thaw

ODD_NAMES = (b"-rf", b"a b", b"line\nbreak", b"\xff\xfe", b"*", b"x" * 255)


def nested(top: Path, name: bytes, depth: int) -> None:
    """Make folders in each other, deeper than a path may be long."""
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def test_trees_of_empty_groups_are_removed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "docker/container").mkdir(parents=True)
    remove_trees([tmp_path / "one", tmp_path / "two", tmp_path / "none"], 1.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "depth"), [(b"n" * 200, 40), (b"d", 3000)])
def test_no_tree_is_too_deep(tmp_path: Path, name: bytes, depth: int) -> None:
    nested(tmp_path / "guest", name, depth)
    remove_trees([tmp_path / "guest"], 1.0)
    assert list(tmp_path.iterdir()) == []


def test_no_name_is_too_odd(tmp_path: Path) -> None:
    for name in ODD_NAMES:
        (tmp_path / "guest" / os.fsdecode(name) / "below").mkdir(parents=True)
    remove_trees([tmp_path / "guest"], 1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_busy_group_is_named_and_all_but_its_parents_are_removed(tmp_path: Path) -> None:
    for name in ("busy/idle", "idle"):
        (tmp_path / "guest" / name).mkdir(parents=True)
    (tmp_path / "guest/busy/cgroup.procs").write_text("1")
    with pytest.raises(TimeoutError, match=r"guest still has processes after 0\.05 s"):
        remove_trees([tmp_path / "guest"], 0.05)
    assert [path.name for path in (tmp_path / "guest").iterdir()] == ["busy"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other/below").mkdir(parents=True)
    (tmp_path / "guest").mkdir()
    (tmp_path / "guest/link").symlink_to(tmp_path / "other")
    with pytest.raises(TimeoutError):
        remove_trees([tmp_path / "guest"], 0.05)
    assert (tmp_path / "other/below").exists()


def test_all_groups_of_a_tree_are_thawed(tmp_path: Path) -> None:
    groups = [tmp_path, tmp_path / "a", tmp_path / "a/b"]
    for group in groups:
        group.mkdir(exist_ok=True)
        (group / "freezer.state").write_text("FROZEN")
    thaw(tmp_path)
    assert {(group / "freezer.state").read_text() for group in groups} == {"THAWED"}
    thaw(tmp_path / "none")
