"""Running the project's playbooks on the tests' own inventory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
INVENTORY = Path(__file__).parent / "inventory"
DEADLINE = 900


def play(playbook: str, *options: str) -> str:
    """Run a playbook of the project on the test's own inventory; returns what it printed."""
    ansible = Path(sys.executable).with_name("ansible-playbook")
    command = [str(ansible), "--inventory", str(INVENTORY), playbook, *options]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
