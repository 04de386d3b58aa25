"""The commands that are playbooks of the project."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from ..guest import manage
from .common import Command, CommandError

PROJECT = Path(__file__).parents[3]


def play(playbook: str, options: argparse.Namespace) -> int:
    """Run a playbook of the project, for one guest or all; its output is kept off stdout under --json."""
    path = PROJECT / playbook
    if not path.exists():
        raise CommandError(f"host: no {path}; run this portchain from a checkout's .venv")
    command = [str(Path(sys.executable).with_name("ansible-playbook")), playbook]
    if options.guest:
        command += ["--limit", options.guest]
    if os.geteuid() and subprocess.run(["sudo", "-kn", "true"], capture_output=True, check=False).returncode:
        command.append("--ask-become-pass")
    done = subprocess.run(command, cwd=PROJECT, check=False, stdout=sys.stderr if options.json else None)
    if options.json:
        print(json.dumps([manage.status(name).as_dict() for name in manage.names()], indent=2))
    return 1 if done.returncode else 0


def up(options: argparse.Namespace) -> int:
    """Run site.yml."""
    return play("site.yml", options)


def down(options: argparse.Namespace) -> int:
    """Run the teardown."""
    return play("playbooks/teardown.yml", options)


COMMANDS = (Command("up", up), Command("down", down))
