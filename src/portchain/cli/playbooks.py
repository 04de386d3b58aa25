"""The commands that are playbooks of the project."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from ..guest import manage
from .common import Command, CommandError

PROJECT = Path(__file__).parents[3]
_INTERRUPTED = 128 + signal.SIGINT
_END_SECONDS = 60


def play(playbook: str, options: argparse.Namespace) -> int:
    """Run a playbook of the project, for one guest or all; its output is kept off stdout under --json.

    It is shown stage by stage; with --verbose as Ansible shows it.
    """
    path = PROJECT / playbook
    if not path.exists():
        raise CommandError(f"host: no {path}; run this portchain from a checkout's .venv")
    command = [str(Path(sys.executable).with_name("ansible-playbook")), playbook]
    if options.guest:
        command += ["--limit", options.guest]
    if os.geteuid() and subprocess.run(["sudo", "-kn", "true"], capture_output=True, check=False).returncode:
        command.append("--ask-become-pass")
    environment = dict(os.environ)
    if not options.verbose:
        plugins = str(PROJECT / "callback_plugins")
        environment |= {"ANSIBLE_CALLBACK_PLUGINS": plugins, "ANSIBLE_STDOUT_CALLBACK": "stages"}
    status = _wait(subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=sys.stderr if options.json else None))
    if options.json:
        print(json.dumps([manage.status(name).as_dict() for name in manage.names()], indent=2))
    return status


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The exit status. Ctrl-C lets the playbook end in order, and a second one does not wait for that."""
    try:
        return 1 if process.wait() else 0
    except KeyboardInterrupt:
        if not sys.stdin.isatty():  # a terminal tells the playbook as well
            process.send_signal(signal.SIGINT)
        with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        if process.poll() is None:
            process.terminate()
        return _INTERRUPTED


def up(options: argparse.Namespace) -> int:
    """Bring the guests up as the inventory says, and show the way of each port."""
    status = play("site.yml", options)
    if not status and not options.json:
        show_machines([options.guest] if options.guest else manage.names())
    return status


def show_machines(guests: list[str]) -> None:
    """The picture of each guest's chains, in the terminal."""
    from rich.console import Console  # noqa: PLC0415

    from ..chain.draw import terminal  # noqa: PLC0415
    from ..chain.look import Session  # noqa: PLC0415
    from ..chain.tracing import trace_machine  # noqa: PLC0415

    for name in guests:
        with Session(name) as session:
            Console().print("", terminal.machine(*trace_machine(session)))


def down(options: argparse.Namespace) -> int:
    """Take the guests down without a trace."""
    return play("playbooks/teardown.yml", options)


def arguments(command: argparse.ArgumentParser) -> None:
    """The words after ``portchain up`` and ``down``."""
    command.add_argument("--verbose", "-v", action="store_true", help="Ansible's own output instead of the stages")


COMMANDS = (Command("up", up, arguments), Command("down", down, arguments))
