"""What becomes of what commands print, where nobody takes it or there is little room."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
COMMANDS = (
    *("status", "status --json", "logs", "logs docker --json", "ps", "ps --json", "trace", "trace --json"),
    *("trace --format svg", "report -o -", "dashboard --no-open", "shell ls -R /usr", "shell --json true"),
    *("engine start", "engine config", "volume ls", "volume cat many:/bytes", "devenv ls", "diagnose -o -"),
    "guest default",
)
EVERY = pytest.mark.parametrize("words", COMMANDS)


def run(guest: str, words: str, **how: object) -> tuple[int, list[str]]:
    """The exit status, and what is said beside what diagnose is at."""
    command = ["portchain", "--guest", guest, *words.split()]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, check=False, **how)  # type: ignore[call-overload]
    said = [line for line in done.stderr.splitlines() if not line.startswith(("host", "guest", " "))]
    return done.returncode, said


@pytest.fixture(scope="module", autouse=True)
def many_bytes(guest_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A volume with a file that no pipe takes whole."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "bytes").write_bytes(bytes(10 << 20))
    assert run(guest_name, f"devenv create many {folder}")[0] == 0
    yield
    assert run(guest_name, "devenv rm many")[0] == 0


@EVERY
def test_a_full_disk_is_told_of_in_one_line(guest_name: str, words: str) -> None:
    with Path("/dev/full").open("wb") as full:
        assert run(guest_name, words, stdout=full) == (1, ["portchain: standard output: No space left on device"])


@EVERY
def test_a_closed_output_is_told_of_in_one_line(guest_name: str, words: str) -> None:
    told = run(guest_name, words, preexec_fn=lambda: os.close(1))
    assert told == (1, ["portchain: standard output: Bad file descriptor"])


@EVERY
def test_a_reader_that_has_seen_enough_is_no_error(guest_name: str, words: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        assert run(guest_name, words, stdout=pipe) == (128 + signal.SIGPIPE, [])


def test_a_log_that_is_followed_ends_with_its_reader(guest_name: str) -> None:
    command = f"portchain --guest {guest_name} logs --follow | head -n 1"
    assert subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, timeout=30, check=True).stdout


@pytest.mark.parametrize("columns", ["0", "1"])
@pytest.mark.parametrize("words", ["ps", "trace"])
def test_something_can_be_read_however_narrow_the_terminal_is_said_to_be(
    guest_name: str, words: str, columns: str
) -> None:
    def first_line(columns: str) -> list[str]:
        environment = {**os.environ, "COLUMNS": columns}
        command = ["portchain", "--guest", guest_name, words]
        printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        return printed.splitlines()[0].split()

    assert first_line(columns) == first_line("200") != []
