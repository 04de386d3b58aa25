"""The way into a guest."""

from __future__ import annotations

import argparse
import json
import subprocess

from .. import daemon
from ..guest import manage
from .common import DEFAULT_GUEST, Command, CommandError


def run(options: argparse.Namespace) -> int:
    """A root shell in the guest, or one command there."""
    guest = options.guest or DEFAULT_GUEST
    if manage.status(guest).state != "running":
        raise CommandError(f"guest {guest}: {manage.status(guest).state}; portchain up --guest {guest}")
    words = options.command[options.command[:1] == ["--"] :]
    ssh = ["ssh", "-F", str(daemon.RUN / guest / "ssh_config"), guest, *words]
    if not options.json:
        return subprocess.run(ssh, check=False).returncode
    if not words:
        raise CommandError("host: shell --json needs a command to run")
    done = subprocess.run(ssh, check=False, capture_output=True, text=True)
    print(
        json.dumps(
            {"guest": guest, "status": done.returncode, "stdout": done.stdout, "stderr": done.stderr},
            indent=2,
        )
    )
    return done.returncode


def arguments(command: argparse.ArgumentParser) -> None:
    """The words after ``portchain shell``."""
    command.add_argument("command", nargs=argparse.REMAINDER, help="what to run instead of a shell")


COMMANDS = (Command("shell", run, arguments),)
