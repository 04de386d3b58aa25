"""The ways into a guest."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
from collections.abc import Sequence
from typing import Any

from .. import daemon
from ..guest import manage
from .common import DEFAULT_GUEST, Command, CommandError, entered


def ssh(guest: str, command: Sequence[str], **words: Any) -> subprocess.CompletedProcess[str]:
    """Run ``command`` in the guest, with the words of subprocess.run; raises CommandError where it does not run."""
    entered(guest)
    state = manage.status(guest).state
    if state != "running":
        raise CommandError(f"guest {guest}: {state}; portchain up --guest {guest}")
    config = str(daemon.RUN / guest / "ssh_config")
    return subprocess.run(["ssh", "-F", config, guest, *command], check=False, text=True, **words)


def in_guest(
    guest: str | None, module: str, arguments: Sequence[str] = (), **words: Any
) -> subprocess.CompletedProcess[str]:
    """Run ``portchain.guest.MODULE`` in the guest."""
    python = ["PYTHONPATH=/usr/lib/portchain", "python3", "-m", f"portchain.guest.{module}"]
    return ssh(guest or DEFAULT_GUEST, [*python, *map(shlex.quote, arguments)], **words)


def run(options: argparse.Namespace) -> int:
    """A root shell in the guest, or one command there."""
    guest = options.guest or DEFAULT_GUEST
    words = options.command[options.command[:1] == ["--"] :]
    if not options.json:
        return ssh(guest, words).returncode
    if not words:
        raise CommandError("host: shell --json needs a command to run")
    done = ssh(guest, words, capture_output=True)
    answer = {"guest": guest, "status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
    print(json.dumps(answer, indent=2))
    return done.returncode


def arguments(command: argparse.ArgumentParser) -> None:
    """The words after ``portchain shell``."""
    command.add_argument("command", nargs=argparse.REMAINDER, help="what to run instead of a shell")


COMMANDS = (Command("shell", run, arguments),)
