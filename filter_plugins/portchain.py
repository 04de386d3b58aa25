"""Filters on publications and forwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from portchain.mapping import plain


def refusing(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with a ValueError as Ansible wants it told."""

    def filtered(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except ValueError as error:
            raise AnsibleFilterError(str(error)) from error

    return filtered


def role_variables(
    hostvars: Mapping[str, Mapping[str, Any]], hosts: list[str], roles: list[str]
) -> list[dict[str, Any]]:
    """Each host's name and those of its variables that begin with the name of a role, or with portchain."""
    prefixes = tuple(f"{role}_" for role in [*roles, "portchain"])
    found = []
    for host in hosts:
        variables = hostvars[host]
        chosen = {name: variables[name] for name in variables if name.startswith(prefixes)}
        found.append({"name": host, "variables": chosen})
    return found


class FilterModule:
    """The filters by name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "parse_publications": refusing(plain.parse_publications),
            "plan_forwards": refusing(plain.plan_forwards),
            "port_conflicts": refusing(plain.port_conflicts),
            "role_variables": role_variables,
        }
