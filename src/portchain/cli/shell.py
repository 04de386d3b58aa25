"""Enter a guest."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
from collections.abc import Sequence

from ..host import guests
from ..linux import service_manager
from . import standard_streams
from .common import Command, CommandError, UsageError, accessible_guests


def ssh_command(guest: str, line: str) -> list[str]:
    """Return the command that runs ``line``, or a shell, in the guest; raise CommandError if it does not run."""
    accessible_guests(guest)
    state = guests.status(guest).state
    if state != "running":
        raise CommandError(f"guest {guest}: {state}; portchain up --guest {guest}")
    return ["ssh", "-F", str(service_manager.RUN / guest / "ssh_config"), "--", guest, *([line] if line else [])]


def shell_line(arguments: Sequence[str]) -> str:
    """Join ``arguments`` for a shell: a single one is a line of its own, several are a program and its arguments."""
    return arguments[0] if len(arguments) == 1 and arguments[0] else shlex.join(arguments)


def in_own_shell(line: str) -> str:
    """Wrap ``line`` in a shell of its own; the shell around it then returns which signal ended it: ssh does not."""
    return f"sh -c {shlex.quote(line)}; exit $?"


def guest_module_command(module: str, *arguments: str) -> str:
    """Return the line that runs ``portchain.guest.MODULE`` in a guest."""
    command = ("python3", "-m", f"portchain.guest.{module}", *arguments)
    return f"PYTHONPATH=/usr/lib/portchain {shlex.join(command)}"


def run(options: argparse.Namespace) -> int:
    """Open a root shell in the guest, or run one command there."""
    words = options.words[options.words[:1] == ["--"] :]
    if options.json and not words:
        raise UsageError("host: shell --json needs a command to run")
    command = ssh_command(options.guest, in_own_shell(shell_line(words)) if words else "")
    if not options.json:
        return standard_streams.run(command)
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    answer = {"guest": options.guest, "status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
    print(json.dumps(answer, indent=2))
    return done.returncode


def arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``portchain shell``."""
    description = "a program and its arguments, or one word that is a line of shell; without any, a shell"
    command.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help=description)


COMMANDS = (Command("shell", run, arguments),)
