"""Filters that plan chains and select variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleError, AnsibleFilterError
from jinja2 import TemplateError

from portchain.ports import plain_data


def refusing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``function`` so that a ValueError becomes an AnsibleFilterError."""

    def filtered(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except ValueError as error:
            raise AnsibleFilterError(str(error)) from error

    return filtered


def role_variables(
    hostvars: Mapping[str, Mapping[str, Any]], hosts: list[str], roles: list[str], machine: str
) -> list[dict[str, Any]]:
    """Select the variables of roles, and those of portchain itself, of each host that ``machine`` runs.

    Those whose templates fail are ``undefined``, each with the reason.
    """
    prefixes = tuple(f"{role}_" for role in [*roles, "portchain"])
    found = []
    for host in hosts:
        variables, undefined = {}, {}
        for name in hostvars[host]:
            if name.startswith(prefixes):
                try:
                    variables[name] = _rendered(hostvars[host][name])
                except (AnsibleError, TemplateError) as error:
                    undefined[name] = f"cannot be templated: {error.__cause__ or error}"
        if variables.get("portchain_machine", machine) == machine:
            found.append({"name": host, "variables": variables, "undefined": undefined})
    return found


def _rendered(value: Any) -> Any:
    """Render all templates in ``value``; raise AnsibleError or TemplateError where one fails."""
    if isinstance(value, Mapping):
        return {name: _rendered(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rendered(one) for one in value]
    str(value)  # raises where the value stands for an error
    return value


class FilterModule:
    """Provide the filters by name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "plan_chains": refusing(plain_data.plan_chains),
            "role_variables": role_variables,
        }
