from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from selectors import DefaultSelector

import pytest

from portchain.host.drivers.namespace.console import LOG, MAX_RATE, Console


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / LOG).parent.mkdir(parents=True)
    return tmp_path


@pytest.fixture
def selector() -> Iterator[DefaultSelector]:
    with DefaultSelector() as selector:
        yield selector


def test_what_is_printed_is_kept_on_both_sides(root: Path, selector: DefaultSelector) -> None:
    console = Console(selector, root / "host/console.log")
    os.write(console.writer, b"before there is a log\r\n")
    console.serve_one()
    console.open_log(root, os.getuid())
    os.write(console.writer, b"\x1b[2Jone\n")
    console.serve_one()
    os.write(console.writer, b"last words")
    console.close()
    assert (root / LOG).read_text() == "\x1b[2Jone\nlast words"
    lines = (root / "host/console.log").read_text().splitlines()
    assert [line.partition("Z ")[2] for line in lines] == ["before there is a log", "?[2Jone", "last words"]


def test_both_logs_are_bounded(root: Path, selector: DefaultSelector) -> None:
    seconds = iter(range(1000))
    console = Console(selector, root / "host/console.log", lambda: next(seconds))
    console.open_log(root, os.getuid())
    for _ in range(80):
        os.write(console.writer, b"a line\n" * 9000)
        console.serve_one()
        console.resume()
        assert (root / LOG).stat().st_size <= 1024 * 1024
    assert (root / LOG).stat().st_size > 0
    assert sum(path.stat().st_size for path in (root / "host").iterdir()) < 3_000_000
    console.close()


def test_a_guest_that_prints_too_fast_waits_for_the_next_second(root: Path, selector: DefaultSelector) -> None:
    now = [0.0]
    console = Console(selector, root / "host/console.log", lambda: now[0])
    read = 0
    os.write(console.writer, b"a line\n" * 9000)
    while selector.select(0):
        console.serve_one()
        os.write(console.writer, b"a line\n" * 9000)
        read += 63_000
        assert read < 2 * MAX_RATE
        console.resume()
    assert read >= MAX_RATE
    os.write(console.writer, b"later\n")
    now[0] = 1.0
    console.resume()
    assert selector.select(0)
    console.close()
    assert (root / "host/console.log").read_text().endswith("Z later\n")


def test_a_link_in_the_logs_place_is_not_followed(root: Path, selector: DefaultSelector, tmp_path: Path) -> None:
    (root / LOG).symlink_to(tmp_path / "elsewhere")
    console = Console(selector, root / "host/console.log")
    with pytest.raises(OSError, match="symbolic links"):
        console.open_log(root, os.getuid())
    console.close()
    assert not (tmp_path / "elsewhere").exists()
