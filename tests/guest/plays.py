"""Running the project's playbooks on the tests' own inventory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
INVENTORY = Path(__file__).parent / "inventory"
DEADLINE = 900


def play(playbook: str, *options: str, inventory: Path = INVENTORY) -> str:
    """Run a playbook of the project; returns what it printed."""
    done = run(playbook, *options, inventory=inventory)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(playbook: str, *options: str, inventory: Path = INVENTORY) -> str:
    """Run a playbook of the project that does not succeed; returns what it printed."""
    done = run(playbook, *options, inventory=inventory)
    assert done.returncode, done.stdout
    return done.stdout + done.stderr


def run(playbook: str, *options: str, inventory: Path = INVENTORY) -> subprocess.CompletedProcess[str]:
    """Run a playbook of the project, whatever comes of it."""
    ansible = Path(sys.executable).with_name("ansible-playbook")
    command = [str(ansible), "--inventory", str(inventory), playbook, *options]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=DEADLINE, check=False)
