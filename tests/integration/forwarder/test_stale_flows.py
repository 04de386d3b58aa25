"""UDP clients that were there before the rule that leads to their server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STAGE = Path(__file__).with_name("stale_stage.py")
TESTS = Path(__file__).parents[2]
SOURCE = TESTS.parent / "src"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces are made by root")


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """Who answered."""
    command = ["unshare", "--net", sys.executable, str(STAGE)]
    environment = {**os.environ, "PYTHONPATH": f"{SOURCE}:{TESTS}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("version", [4, 6])
def test_a_flow_that_began_without_translation_gets_one(seen: dict[str, Any], version: int) -> None:
    assert seen[str(version)][:3] == ["", "", "7001"]


@pytest.mark.parametrize("version", [4, 6])
def test_a_flow_whose_target_refuses_follows_the_rule_that_is_there_now(seen: dict[str, Any], version: int) -> None:
    assert seen[str(version)][3] == "7002"


def test_a_server_of_the_guests_own_keeps_its_client(seen: dict[str, Any]) -> None:
    assert seen["own"] == 1
