"""The roles' variables as their argument_specs describe them, for the tests of the preflight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from portchain.preflight.guest_variables import InventoryGuest
from portchain.preflight.role_variables import read_specs

PROJECT = Path(__file__).parents[2]
ROLES = sorted(path.parent.parent for path in PROJECT.glob("roles/*/meta/argument_specs.yml"))
OPTIONS = read_specs(yaml.safe_load((role / "meta/argument_specs.yml").read_text()) for role in ROLES)


def guest(host: str, **variables: Any) -> InventoryGuest:
    """The guest of a host with good variables."""
    read, wrong = InventoryGuest.read(host, variables, OPTIONS)
    assert not wrong
    return read


def problems(**variables: Any) -> list[str]:
    """What is wrong with the variables of the guest ``a``, each by itself or together."""
    read, wrong = InventoryGuest.read("a", variables, OPTIONS)
    return [*wrong, *read.problems()]
