"""Why a task failed, as the callback plugin ``stages`` tells it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PLUGIN = Path(__file__).parents[3] / "callback_plugins/stages.py"


@pytest.fixture(scope="module")
def stages() -> ModuleType:
    """The plugin, loaded where it is tested alone: it brings half of Ansible with it."""
    spec = importlib.util.spec_from_file_location("stages", PLUGIN)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ({"msg": "guest x is stopped\n- one"}, "guest x is stopped\n- one"),
        ({"msg": "non-zero return code", "stderr": "no such file\n"}, "non-zero return code\nno such file"),
        ({"msg": "MODULE FAILURE", "module_stderr": "Killed"}, "MODULE FAILURE\nKilled"),
        ({"msg": "secret", "censored": "hidden by no_log"}, "hidden by no_log"),
        ({}, "it failed and says nothing"),
        (
            {
                "msg": "One or more items failed",
                "results": [
                    {"item": "web", "msg": "fine"},
                    {"item": "db", "failed": True, "msg": "no image"},
                    {"item": {"a": 1}, "_ansible_item_label": "bus", "unreachable": True, "msg": "no answer"},
                ],
            },
            "db:\nno image\nbus:\nno answer",
        ),
        ({"msg": "it \x1b[31mis\x07 red"}, "it �[31mis� red"),
    ],
)
def test_the_reason_is_for_people(stages: ModuleType, told: dict[str, Any], text: str) -> None:
    assert stages.reason(told) == text


def test_the_reason_fits_a_screen(stages: ModuleType) -> None:
    lines = stages.reason({"msg": "\n".join(["x" * 5000] * 100)}).splitlines()
    assert lines[-1] == "… 60 more lines"
    assert len(lines) == 41
    assert max(map(len, lines)) < 2100
