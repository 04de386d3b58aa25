from __future__ import annotations

import os
from pathlib import Path

import pytest

from portchain.guest.console import LOG, Console


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / LOG).parent.mkdir(parents=True)
    return tmp_path


def test_what_is_printed_is_passed_on_and_kept(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    console = Console()
    os.write(console.writer, b"before there is a log\n")
    console.serve_one()
    console.keep(root, os.getuid())
    os.write(console.writer, b"one\n")
    console.serve_one()
    os.write(console.writer, b"last words\n")
    console.close()
    assert (root / LOG).read_text() == "one\nlast words\n"
    assert capfd.readouterr().err == "before there is a log\none\nlast words\n"


def test_the_log_is_bounded(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.keep(root, os.getuid())
    for _ in range(40):
        os.write(console.writer, bytes(65536))
        console.serve_one()
        assert (root / LOG).stat().st_size <= 1024 * 1024
    assert (root / LOG).stat().st_size > 0
    console.close()
    capfd.readouterr()


def test_a_link_in_the_logs_place_is_not_followed(root: Path, tmp_path: Path) -> None:
    (root / LOG).symlink_to(tmp_path / "elsewhere")
    console = Console()
    with pytest.raises(OSError, match="symbolic links"):
        console.keep(root, os.getuid())
    console.close()
    assert not (tmp_path / "elsewhere").exists()
