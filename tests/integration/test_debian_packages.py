"""The module debian_packages asks apt for what is missing, and for nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def install(*packages: str) -> str:
    """What Ansible says of these packages in check mode; "as root" is left to who runs it."""
    command = ["ansible", "localhost", "--check", "-m", "debian_packages", "-a", f"name={','.join(packages)}"]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False).stdout


def test_what_is_installed_is_left_alone() -> None:
    said = install("dpkg", "libc6")
    assert said.startswith("localhost | SUCCESS")
    assert '"changed": false' in said
    assert "cache" not in said  # which apt tells of


def test_what_is_missing_is_apts_to_install() -> None:
    assert "No package matching 'portchain-has-none'" in install("dpkg", "portchain-has-none")
