from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from portchain.guest.services.docker.engine_config import FIXED, ConfigError, ConfigFiles, merge, parse_own


@pytest.mark.parametrize(
    ("own", "effective"),
    [
        ({}, {"a": 1, "opts": {"x": "1", "y": "2"}, "list": [1]}),
        ({"a": 2}, {"a": 2, "opts": {"x": "1", "y": "2"}, "list": [1]}),
        ({"opts": {"y": "3", "z": "4"}}, {"a": 1, "opts": {"x": "1", "y": "3", "z": "4"}, "list": [1]}),
        ({"list": [2, 3]}, {"a": 1, "opts": {"x": "1", "y": "2"}, "list": [2, 3]}),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 1}}, "opts": {"x": "1", "y": "2"}, "list": [1]}),
        ({"a": None, "none": None, "opts": {"x": None}}, {"opts": {"y": "2"}, "list": [1]}),
    ],
)
def test_the_users_part_lies_on_top(own: dict[str, Any], effective: dict[str, Any]) -> None:
    base = {"a": 1, "opts": {"x": "1", "y": "2"}, "list": [1]}
    assert merge(base, own) == effective
    assert base == {"a": 1, "opts": {"x": "1", "y": "2"}, "list": [1]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "must be an object"),
        *((json.dumps({key: "x"}).encode(), f"{key}: fixed by the guest") for key in FIXED),
    ],
)
def test_what_cannot_be_used_is_said(text: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_own(text)


def test_nothing_is_an_empty_configuration() -> None:
    assert parse_own(b" \n") == {}


def test_the_users_part_is_kept_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    files = ConfigFiles(own=tmp_path / "desktop-engine/daemon.json")
    assert files.read_own() == {}
    files.save({"debug": True})
    assert files.read_own() == {"debug": True}
    files.own.write_text("{")
    with pytest.raises(ConfigError):
        files.read_own()
