"""The roles' argument_specs say of each variable what it must be, and have the defaults of defaults/main.yml."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from portchain.preflight.role_variables import RoleOption
from support.described_guests import OPTIONS, PROJECT, ROLES


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_roles_specs_agree_with_its_defaults(role: Path) -> None:
    points = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"].values()
    options = {name: option for point in points for name, option in (point.get("options") or {}).items()}
    file = role / "defaults/main.yml"
    defaults = yaml.safe_load(file.read_text()) or {} if file.exists() else {}
    assert {name: option["default"] for name, option in options.items() if "default" in option} == defaults
    assert all(name.startswith((f"{role.name}_", "portchain_")) for name in options)


def test_what_a_role_takes_from_another_by_default_is_that_roles_default() -> None:
    fallback = re.compile(r"\{\{ (\w+) \| default\((.*)\) \}\}")
    found = {name: match for name, option in OPTIONS.items() if (match := fallback.fullmatch(str(option.default)))}
    assert {match[1] for match in found.values()} == {
        "guest_engine",
        "guest_hostname",
        "guest_image_cache",
        "guest_uid_base",
    }
    for match in found.values():
        assert yaml.safe_load(match[2]) == OPTIONS[match[1]].default


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_role_reads_its_own_variables_and_the_projects_alone(role: Path) -> None:
    points = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"].values()
    declared = {name for point in points for name in point["options"]}
    text = "\n".join(file.read_text() for file in (*role.glob("tasks/*.yml"), *role.glob("vars/*.yml")))
    own = set(re.findall(rf"(?:register: |^ *)({role.name}_\w+)", text, re.MULTILINE))
    templates = " ".join(re.findall(r"\{[{%].*?[%}]\}", text, re.DOTALL))
    conditions = " ".join(re.findall(r"^ +(?:when:|that:|until:|\w+_when:|-) (\w.*)$", text, re.MULTILINE))
    prefixes = "|".join(f"{other.name}_" for other in ROLES)
    read = set(re.findall(rf"(?<![.'\w])((?:{prefixes}|portchain_)\w+)", f"{templates} {conditions}"))
    assert read - declared - own == set()


def values(options: Mapping[str, RoleOption]) -> Iterator[tuple[str, RoleOption]]:
    """All variables and keys that are no mapping of further keys."""
    for name, option in options.items():
        yield from values(option.options) if option.options else [(name, option)]


def test_each_variable_says_what_it_must_be() -> None:
    for name, option in values(OPTIONS):
        assert option.type in ("bool", "dict", "float", "int", "list", "path", "str"), name
        assert bool(option.rule) != bool(option.choices or option.type == "bool"), f"{name}: no sentence, or too much"
        if option.rule:
            bounded = option.type in ("int", "float") or option.rule.kind == "size"
            assert option.rule.each == (option.type in ("list", "dict")), f"{name}: Each must be …, or Must be …"
            assert bool(option.rule.bounds) == bounded, f"{name}: from … to …"


def test_each_default_is_what_it_must_be() -> None:
    wrong: list[str] = []
    for name, option in values(OPTIONS):
        if option.default is not None and "{{" not in str(option.default):
            option.read(option.default, name, wrong)
    assert wrong == []


def test_the_page_of_variables_is_what_the_roles_say() -> None:
    command = [sys.executable, str(PROJECT / "scripts/write-variables"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
