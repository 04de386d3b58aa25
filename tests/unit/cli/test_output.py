"""Files that commands write."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from portchain.cli.common import CommandError
from portchain.cli.output import open_output


def test_a_file_is_there_as_a_whole_and_its_owners_alone(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    target.write_text("old")
    with open_output(target) as file:
        file.write(b"new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_what_was_cut_short_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), open_output(target) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_others_put_there_before_is_not_followed(tmp_path: Path) -> None:
    """In /tmp anybody may leave a link with the name that the unfinished file will have."""
    target, other = tmp_path / "page.html", tmp_path / "other"
    other.write_text("theirs")
    (tmp_path / ".page.html.new").symlink_to(other)
    with open_output(target) as file:
        file.write(b"new")
    assert (target.read_text(), other.read_text()) == ("new", "theirs")


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    """As is a device: /dev/null must not become a file."""
    target = tmp_path / "pipe"
    os.mkfifo(target)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(target.read_bytes()))
    reader.start()
    with open_output(target) as file:
        file.write(b"new")
    reader.join(10)
    assert found == [b"new"]
    assert target.is_fifo()


def test_where_it_cannot_be_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(CommandError, match=r"host: .*page\.html cannot be written: No such"),
        open_output(tmp_path / "no/page.html"),
    ):
        pass
