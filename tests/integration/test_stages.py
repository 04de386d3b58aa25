"""What ``portchain up`` shows of a playbook."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
MESSAGE = "Nothing was changed. Correct these problems first:\n- one"
FAILS = {"name": "Fail", "ansible.builtin.fail": {"msg": MESSAGE}}
SLEEPS = {"name": "Sleep", "ansible.builtin.command": "sleep 60"}
BUILDS = """
import time
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        Display().display("as it happens")
        time.sleep(60)
"""
CHANGES = {"name": "Change", "ansible.builtin.command": "true", "changed_when": True}


def playbook(folder: Path, *plays: tuple[str, list[dict[str, object]]]) -> tuple[list[str], dict[str, str]]:
    """The command and the environment that show a playbook with these plays in stages."""
    book = [{"name": name, "hosts": "localhost", "gather_facts": False, "tasks": tasks} for name, tasks in plays]
    path = folder / "book.yml"
    path.write_text(yaml.safe_dump(book))
    stages = {"ANSIBLE_STDOUT_CALLBACK": "stages", "ANSIBLE_CALLBACK_PLUGINS": str(PROJECT / "callback_plugins")}
    command = ["ansible-playbook", "--inventory", "localhost,", "--connection", "local", str(path)]
    command += ["--extra-vars", f"ansible_python_interpreter={sys.executable}"]
    return command, {**os.environ, **stages}


def play(folder: Path, *plays: tuple[str, list[dict[str, object]]]) -> tuple[int, list[str]]:
    """The exit status and the lines of a playbook with these plays."""
    command, environment = playbook(folder, *plays)
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60, check=False
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
    status, lines = play(tmp_path, ("Look", [rescued, {**FAILS, "ignore_errors": True}]), ("Go on", []))
    assert status == 0
    assert lines[0].startswith("✓ Look")
    assert lines[1].startswith("✓ Go on")
    assert not any("Correct these problems" in line for line in lines)


def read_until(terminal: int, wanted: bytes, seconds: float = 20) -> bytes:
    """What comes from a terminal up to what is ``wanted``, or to its end."""
    found, deadline = b"", time.monotonic() + seconds
    while wanted not in found and time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            found += os.read(terminal, 65536)
        except OSError:  # nobody has it open any more
            break
    return found


def test_ctrl_c_leaves_the_terminal_with_a_cursor_and_says_what_did_not_end(tmp_path: Path) -> None:
    command, environment = playbook(tmp_path, ("Boot", [SLEEPS]))
    pid, terminal = pty.fork()
    if not pid:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as a shell at a terminal has it, whatever it is here
        os.chdir(PROJECT)
        os.execvpe(command[0], command, {**environment, "TERM": "xterm"})
    shown = read_until(terminal, b"Sleep")
    assert shown.count(b"\x1b[?25l") == 1
    os.write(terminal, b"\x03")
    shown = read_until(terminal, b"nothing of the kind")
    os.waitpid(pid, 0)
    assert b"\x1b[?25h" in shown
    assert re.search(rb"Boot +\d+\.\d s  did not end", shown)


def test_an_interrupt_without_a_terminal_reaches_the_playbook() -> None:
    code = (
        "import signal, subprocess, sys; from portchain.cli import playbooks;"
        "signal.signal(signal.SIGINT, signal.default_int_handler); found = subprocess.Popen(['sleep', '60']);"
        "wait = found.wait; found.wait = lambda *words: print(found.pid, flush=True) or wait(*words);"
        "sys.exit(playbooks._wait(found))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        assert process.stdout
        sleeping = int(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    assert not Path(f"/proc/{sleeping}").exists()


def test_what_a_playbook_says_comes_at_once_without_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "action_plugins").mkdir()
    (tmp_path / "action_plugins/build.py").write_text(BUILDS)
    _, environment = playbook(tmp_path, ("Build", [{"name": "Build", "build": None}]))
    (tmp_path / "hosts.yml").write_text("all: {hosts: {localhost: {ansible_connection: local}}}")
    environment |= {"ANSIBLE_INVENTORY": str(tmp_path / "hosts.yml"), "ANSIBLE_STDOUT_CALLBACK": "default"}
    environment.pop("PYTHONUNBUFFERED", None)
    code = (
        "import argparse, sys; from portchain.cli import playbooks;"
        "playbooks.play(sys.argv[1], argparse.Namespace(guest=None, verbose=True, json=False))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "book.yml")],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        process_group=0,
    ) as process:
        assert process.stdout
        try:
            assert b"as it happens" in read_until(process.stdout.fileno(), b"as it happens")
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_a_playbook_goes_on_to_its_end_though_nothing_takes_what_it_prints(tmp_path: Path) -> None:
    book = f"echo begun; sleep 0.2; echo more; touch {tmp_path}/done"
    code = (
        "import subprocess, sys; from portchain.cli import playbooks, standard_streams; standard_streams.guard();"
        f"sys.exit(playbooks._wait(subprocess.Popen(['sh', '-c', {book!r}], stdout=subprocess.PIPE)))"
    )
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (ended.returncode, ended.stderr) == (1, "portchain: standard output: No space left on device\n")
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("command", ["up", "down"])
@pytest.mark.parametrize("guest", ["", "nope", "all"])
def test_only_a_guest_of_the_inventory_is_brought_up_or_taken_down(tmp_path: Path, command: str, guest: str) -> None:
    (tmp_path / "hosts.yml").write_text("guests: {hosts: {one: {}, two: {}}}")
    environment = {**os.environ, "ANSIBLE_INVENTORY": str(tmp_path / "hosts.yml")}
    told = subprocess.run(
        ["portchain", command, "--guest", guest], env=environment, capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == f"portchain: inventory: no guest {guest!r}; there are: one, two\n"
