from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portchain.image.definition import Definition, DefinitionError
from portchain.image.progress import describe
from portchain.image.suites import PackageOrigin
from portchain.linux.overlay_files import entries

BOOKWORM = PackageOrigin("bookworm")


def definition(folder: Path, **data: Any) -> Definition:
    return Definition.parse(folder, {"packages": ["runc"], **data}, BOOKWORM)


def test_the_hash_follows_every_input(tmp_path: Path) -> None:
    seen = {definition(tmp_path).digest}
    seen.add(definition(tmp_path, packages=["runc", "tini"]).digest)
    seen.add(definition(tmp_path, config={"Cmd": ["sh"]}).digest)
    seen.add(Definition.parse(tmp_path, {"packages": ["runc"]}, PackageOrigin("trixie")).digest)
    ahead = PackageOrigin("trixie", "forky", frozenset({"runc"}))
    seen.add(Definition.parse(tmp_path, {"packages": ["runc"]}, ahead).digest)
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a").write_text("a")
    seen.add(definition(tmp_path).digest)
    (tmp_path / "files/a").chmod(0o755)
    seen.add(definition(tmp_path).digest)
    (tmp_path / "files/b").symlink_to("a")
    seen.add(definition(tmp_path).digest)
    (tmp_path / "customize").write_text("#!/bin/sh\n")
    seen.add(definition(tmp_path).digest)
    assert len(seen) == 9


def test_the_order_of_packages_does_not_matter(tmp_path: Path) -> None:
    assert definition(tmp_path, packages=["a", "b"]).digest == definition(tmp_path, packages=["b", "a"]).digest


def test_only_an_image_for_the_engine_is_an_archive(tmp_path: Path) -> None:
    assert definition(tmp_path).path(Path("/cache")).suffix == ""
    assert definition(tmp_path, config={"Cmd": ["sh"]}).path(Path("/cache")).suffix == ".tar"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"package": []}, "unknown key 'package'; allowed: config, packages"),
        ({"packages": "runc"}, "packages must be a list"),
        ({"packages": []}, "the key packages is required"),
    ],
)
def test_a_wrong_definition_is_refused_by_image_and_key(tmp_path: Path, data: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=f"image {tmp_path.name}: {message}"):
        Definition.parse(tmp_path, data, BOOKWORM)


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", "starting"),
        ("I: running apt-get update...\n", "downloading"),
        (
            "0 upgraded, 3 newly installed, 0 to remove\nUnpacking a (1)\nUnpacking b (1)\n",
            "unpacking 2 of 3 packages",
        ),
        ("0 upgraded, 1 newly installed\nUnpacking a\nSetting up a (1)\n", "setting up 1 of 1 packages"),
        ("Setting up a (1)\nI: success in 20 seconds\n", "finishing"),
    ],
)
def test_progress_is_the_stage_the_log_has_reached(log: str, expected: str) -> None:
    assert describe(log) == expected


def test_a_file_that_stands_for_a_symlink_is_one(tmp_path: Path) -> None:
    for name in ("real", "standing"):
        (tmp_path / name / "files/sbin").mkdir(parents=True)
    (tmp_path / "real/files/sbin/init").symlink_to("../bin/busybox")
    (tmp_path / "standing/files/sbin/init.symlink").write_text("../bin/busybox\n")
    folders = [tmp_path / "real", tmp_path / "standing"]
    found = [[(name, link) for name, _, link in entries(folder / "files")] for folder in folders]
    assert found == [[("sbin", None), ("sbin/init", "../bin/busybox")]] * 2
    assert len({definition(folder).digest for folder in folders}) == 1
