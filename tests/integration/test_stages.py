"""What ``portchain up`` shows of a playbook."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

PROJECT = Path(__file__).parents[2]
MESSAGE = "Nothing was changed, for this has to be put right first:\n- one"
FAILS = {"name": "Fail", "ansible.builtin.fail": {"msg": MESSAGE}}
CHANGES = {"name": "Change", "ansible.builtin.command": "true", "changed_when": True}


def play(folder: Path, *plays: tuple[str, list[dict[str, object]]]) -> tuple[int, list[str]]:
    """The exit status and the lines of a playbook with these plays."""
    book = [{"name": name, "hosts": "localhost", "gather_facts": False, "tasks": tasks} for name, tasks in plays]
    path = folder / "book.yml"
    path.write_text(yaml.safe_dump(book))
    stages = {"ANSIBLE_STDOUT_CALLBACK": "stages", "ANSIBLE_CALLBACK_PLUGINS": str(PROJECT / "callback_plugins")}
    command = ["ansible-playbook", "--inventory", "localhost,", "--connection", "local", str(path)]
    command += ["--extra-vars", f"ansible_python_interpreter={sys.executable}"]
    done = subprocess.run(
        command, cwd=PROJECT, env={**os.environ, **stages}, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout.splitlines()


def test_a_line_a_stage_with_its_time_and_what_changed(tmp_path: Path) -> None:
    status, lines = play(tmp_path, ("First stage", [CHANGES, CHANGES]), ("Second stage", []))
    assert status == 0
    assert re.fullmatch(r"✓ First stage +\d+\.\d s  2 changed", lines[0])
    assert re.fullmatch(r"✓ Second stage +\d+\.\d s", lines[1])
    assert re.fullmatch(r" +\d+\.\d s in all: 2 ok, 2 changed", lines[2])


def test_a_failure_is_told_at_the_end_in_lines(tmp_path: Path) -> None:
    status, lines = play(tmp_path, ("Look", [FAILS]), ("Never", [CHANGES]))
    assert status == 2
    assert lines[0].startswith("✗ Look")
    assert not any("Never" in line for line in lines)
    at = lines.index("localhost: Fail")
    assert lines[at + 1 : at + 3] == MESSAGE.splitlines()


def test_what_was_put_right_is_no_failure(tmp_path: Path) -> None:
    rescued = {"name": "Try", "block": [FAILS], "rescue": [CHANGES]}
    status, lines = play(tmp_path, ("Look", [rescued, {**FAILS, "ignore_errors": True}]))
    assert status == 0
    assert lines[0].startswith("✓ Look")
    assert not any("put right first" in line for line in lines)
