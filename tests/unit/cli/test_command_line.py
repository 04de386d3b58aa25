"""What holds for every command: whom it is about, where its options stand, what becomes of what it prints."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from portchain import cli
from portchain.cli import playbooks
from portchain.cli.common import make_table, print_result
from portchain.host import guests
from portchain.linux import service_manager

# Every command and action, with what it needs to be right.
COMMANDS = {
    "status": [],
    "logs": ["docker"],
    "ps": [],
    "trace": ["8080"],
    "report": [],
    "dashboard": [],
    "forward add": [":8081", "127.0.0.1:8080"],
    "forward remove": [":8081"],
    "shell": [],
    "engine start": [],
    "engine stop": [],
    "engine restart": [],
    "engine config": [],
    "volume ls": [],
    "volume cat": ["data:/file"],
    "devenv create": ["work", "/tmp"],
    "devenv ls": [],
    "devenv rm": ["work"],
    "diagnose": [],
    "reclaim": [],
    "guest default": [],
    "guest validate": ["/nowhere"],
    "up": [],
    "down": [],
}
EVERY = pytest.mark.parametrize("words", [[*name.split(), *rest] for name, rest in COMMANDS.items()], ids=" ".join)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with one guest that is defined, but down, and an inventory with the same."""
    monkeypatch.setattr(service_manager, "RUN", tmp_path / "run")
    monkeypatch.setattr(guests, "STATE", tmp_path / "state")
    monkeypatch.setattr(playbooks, "inventory_guests", guests.guest_names)
    monkeypatch.setattr(playbooks, "play", pytest.fail)
    (tmp_path / "state/linuxkit").mkdir(parents=True)
    (tmp_path / "state/linuxkit/guest.json").write_text("{}")
    return tmp_path


def names(of: argparse.ArgumentParser, before: str = "") -> Iterator[str]:
    """Each command of a parser, with its actions."""
    below = [one for one in of._actions if isinstance(one, argparse._SubParsersAction)]
    for action in below:
        for name, parser in action.choices.items():
            with pytest.raises(SystemExit):
                parser.parse_args(["--help"])  # has it load its words
            yield from names(parser, f"{before} {name}")
    if not below:
        yield before.strip()


def test_every_command_is_here() -> None:
    assert sorted(names(cli.make_parser())) == sorted(COMMANDS)


@EVERY
@pytest.mark.parametrize("guest", ["nope", "", "all", "!linuxkit", "linuxkit,localhost"])
def test_a_guest_that_is_not_there_is_told_in_one_way(
    words: list[str], guest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--guest", guest, *words]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.partition(": no guest ")[::2] in (
        (f"portchain: {side}", f"{guest!r}; there are: linuxkit\n") for side in ("host", "inventory")
    )


@EVERY
def test_where_there_is_no_guest_the_way_to_one_is_told(
    machine: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (machine / "state/linuxkit/guest.json").unlink()
    assert cli.main([*words, "--guest", "linuxkit"] if words != ["shell"] else ["shell"]) == 1
    assert capsys.readouterr().err.endswith(": no guest 'linuxkit'; none is defined: make up\n")


@EVERY
def test_guest_and_json_stand_before_and_after_any_word(words: list[str]) -> None:
    parser, options = cli.make_parser(), ["--json", "--guest", "other"]
    for at in range(len(words) + 1):
        found = parser.parse_args([*words[:at], *options, *words[at:]])
        assert (found.json, found.guest) == (True, "other")
    found = parser.parse_args(words)
    assert (found.json, found.guest) == (False, None)


def test_words_of_a_command_in_the_guest_are_its_own() -> None:
    words = ["ls", "--json", "--guest", "x", "-h"]
    found = cli.make_parser().parse_args(["shell", "--guest", "other", *words])
    assert (found.guest, found.json, found.words) == ("other", False, words)


@EVERY
@pytest.mark.parametrize("columns", ["0", "1"])
def test_help_can_be_had_however_narrow_it_is(
    words: list[str], columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit) as left:
        cli.main([*words[:2], "--help"] if " ".join(words[:2]) in COMMANDS else [words[0], "--help"])
    assert left.value.code == 0
    assert "--guest" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("how", "status", "error"),
    [
        (">&-", 1, "portchain: standard output: Bad file descriptor\n"),
        (">/dev/full", 1, "portchain: standard output: No space left on device\n"),
        (">/dev/full 2>&-", 1, ""),
        (">/dev/full 2>/dev/full", 1, ""),
        (">/dev/null <&- 2>&-", 0, ""),
    ],
)
def test_standard_streams_are_as_unix_tools_have_them(how: str, status: int, error: str) -> None:
    command = ["bash", "-c", f'"$0" -m portchain.cli --help {how}', sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, error)


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "portchain.cli", "--help"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_the_version_is_the_projects(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"portchain {project['version']}\n")


def test_a_table_shows_names_that_are_no_text_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    table = make_table("NAME", "STATE")
    table.add_row("web\x1b]0;owned\x07\nnginx", "up")
    print_result(False, None, table)
    assert capsys.readouterr().out == "NAME                        STATE\nweb\\x1b]0;owned\\x07\\nnginx  up\n"


def test_an_error_shows_what_a_guest_said_as_escapes() -> None:
    program = (
        "import sys; from portchain.cli import standard_streams; standard_streams.guard(); "
        "print('guest: \\x1b[2J\\tgone', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20)
    assert done.stderr == "guest: \\x1b[2J\tgone\n"
