"""Run the project's playbooks as commands."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from ..host import guests
from . import standard_streams
from .common import Command, CommandError, select_guests

PROJECT = Path(__file__).parents[3]
_INTERRUPTED = 128 + signal.SIGINT
_END_SECONDS = 60


def play(playbook: str, options: argparse.Namespace) -> int:
    """Run a playbook of the project, for one guest or all; with --json its output does not go to stdout.

    Output is shown by stage, or with --verbose as Ansible prints it.
    """
    command = [_ansible("ansible-playbook"), playbook]
    if options.guest is not None:
        command += ["--limit", options.guest]
    if os.geteuid() and _sudo_asks():
        command.append("--ask-become-pass")
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if not options.verbose:
        plugins = str(PROJECT / "callback_plugins")
        environment |= {"ANSIBLE_CALLBACK_PLUGINS": plugins, "ANSIBLE_STDOUT_CALLBACK": "stages"}
    stdout = sys.stderr if options.json else None if sys.stdout.isatty() else subprocess.PIPE
    status = _wait(subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=stdout))
    if options.json:
        print(json.dumps([guests.status(name).as_dict() for name in guests.guest_names()], indent=2))
    return status


def _ansible(program: str) -> str:
    """Return the path of a program of Ansible's; raise CommandError without it, or without a project."""
    path = Path(sys.executable).with_name(program)
    if not path.exists() or not (PROJECT / "site.yml").exists():
        raise CommandError("host: this portchain has no playbooks; run the one in a checkout's .venv/bin")
    return str(path)


def _sudo_asks() -> bool:
    """Tell whether sudo asks this user for a password; raise CommandError where there is no sudo."""
    try:
        return subprocess.run(["sudo", "-kn", "true"], capture_output=True, check=False).returncode != 0
    except FileNotFoundError:
        raise CommandError("host: this needs root, and there is no sudo: run it as root, or install sudo") from None


def inventory_guests() -> list[str]:
    """Return the guests of the inventory; raise CommandError where it cannot be read."""
    command = [_ansible("ansible"), "guests", "--list-hosts"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if listed.returncode:
        raise CommandError(f"inventory: {listed.stderr.strip()}")
    return sorted(line.strip() for line in listed.stdout.splitlines()[1:])


def allow_any_inventory_guest(options: argparse.Namespace) -> None:
    """Check the guest of a command that is about every guest of the inventory, or the one named."""
    if options.guest is not None:
        select_guests(options.guest, inventory_guests(), "inventory")


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the exit status, and pass on the output, as far as it is read.

    Ctrl-C lets the playbook end in order, and a second one does not wait for that.
    """
    try:
        output_status = standard_streams.drain_to_stdout(process.stdout) if process.stdout else 0
        return 1 if process.wait() else output_status
    except KeyboardInterrupt:
        if not sys.stdin.isatty():  # a terminal tells the playbook as well
            process.send_signal(signal.SIGINT)
        with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        if process.poll() is None:
            process.terminate()
        return _INTERRUPTED


def up(options: argparse.Namespace) -> int:
    """Bring the guests up as the inventory says, and show the path of each port."""
    status = play("site.yml", options)
    if not status and not options.json:
        show_machines(select_guests(options.guest))
    return status


def show_machines(guests: list[str]) -> None:
    """Print the picture of each guest's chains in the terminal."""
    from ..trace.collect.evidence_session import Session  # noqa: PLC0415
    from ..trace.render import terminal_view  # noqa: PLC0415
    from ..trace.tracing import trace_machine  # noqa: PLC0415

    for name in guests:
        with Session(name) as session:
            terminal_view.console().print("", terminal_view.machine(*trace_machine(session)))


def down(options: argparse.Namespace) -> int:
    """Take the guests away, with their data disks; the images stay."""
    return play("playbooks/teardown.yml", options)


def arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``portchain up`` and ``down``."""
    command.add_argument("--verbose", "-v", action="store_true", help="Ansible's own output instead of the stages")


COMMANDS = (
    Command("up", up, arguments, allow_any_inventory_guest),
    Command("down", down, arguments, allow_any_inventory_guest),
)
