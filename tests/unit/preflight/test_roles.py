"""The preflight takes the roles' defaults from their argument_specs: they must say what defaults/main.yml says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROLES = sorted(path.parent.parent for path in (Path(__file__).parents[3] / "roles").glob("*/meta/argument_specs.yml"))


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_roles_specs_agree_with_its_defaults(role: Path) -> None:
    points = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"].values()
    options = {name: option for point in points for name, option in (point.get("options") or {}).items()}
    file = role / "defaults/main.yml"
    defaults = yaml.safe_load(file.read_text()) or {} if file.exists() else {}
    assert {name: option["default"] for name, option in options.items() if "default" in option} == defaults
    assert all(name.startswith((f"{role.name}_", "portchain_")) for name in options)
