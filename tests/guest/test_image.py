"""Building an image for real: killed in the middle, built, and not built again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from portchain.image.builder import BuildError, build, log_path
from portchain.image.definition import Definition
from portchain.image.suites import PackageOrigin

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="root file systems are built by root"),
    pytest.mark.usefixtures("images"),
]

BUILD = """
import sys
from pathlib import Path
from portchain.image.builder import build
from portchain.image.folder import load
build(load(Path(sys.argv[1])), Path(sys.argv[2]))
"""
DEADLINE = 120.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the smallest image there is."""
    path = tmp_path / "tiny"
    (path / "files/etc").mkdir(parents=True)
    (path / "files/etc/motd").write_text("from the definition\n")
    (path / "image.yml").write_text("---\npackages: [busybox-static]\n")
    return path


def definition(folder: Path, *packages: str) -> Definition:
    """The image of ``folder``, for the suite of this machine."""
    suite = next(
        line.partition("=")[2].strip('"')
        for line in Path("/etc/os-release").read_text().splitlines()
        if line.startswith("VERSION_CODENAME=")
    )
    return Definition.parse(folder, {"packages": list(packages)}, PackageOrigin(suite))


def builders(cache: Path) -> list[str]:
    """The processes that work below ``cache``."""
    listed = subprocess.run(["ps", "-e", "-o", "stat=,args="], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(cache / "tiny.half") in line and not line.startswith("Z")]


def test_a_killed_build_leaves_no_image_and_the_next_one_succeeds(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", BUILD, str(folder), str(cache)]
    with subprocess.Popen(command, start_new_session=True) as builder:
        end = time.monotonic() + DEADLINE
        while "Unpacking" not in (log_path(cache, "tiny").read_text() if log_path(cache, "tiny").exists() else ""):
            assert time.monotonic() < end, "the build does not get as far as unpacking"
            time.sleep(0.05)
        os.kill(builder.pid, signal.SIGKILL)
    time.sleep(0.5)
    wanted = definition(folder, "busybox-static")
    assert builders(cache) == []
    assert not wanted.path(cache).exists()
    assert str(cache) not in Path("/proc/self/mountinfo").read_text()
    assert build(wanted, cache)
    assert (wanted.path(cache) / "bin/busybox").exists()
    assert (wanted.path(cache) / "etc/motd").read_text() == "from the definition\n"
    assert not build(wanted, cache)
    assert sorted(path.name for path in cache.iterdir()) == ["lock", wanted.path(cache).name]


def test_a_package_that_is_not_there_is_named_and_nothing_is_kept(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(BuildError, match=r"(?s)image tiny: mmdebstrap failed; .*no-such-package"):
        build(definition(folder, "no-such-package"), cache)
    assert sorted(path.name for path in cache.iterdir()) == ["lock"]
