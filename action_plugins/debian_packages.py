"""Installs packages by ansible.builtin.apt, which takes seconds to see that they are there: dpkg says so at once."""

from __future__ import annotations

import shlex
from typing import Any

from ansible.plugins.action import ActionBase

_ASK = ("dpkg-query", "--show", "--showformat", "${db:Status-Status}\n", "--")


class ActionModule(ActionBase):
    """Runs apt only where a package is missing."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask dpkg first; where it knows all the packages as installed, that is all."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, args = self.validate_argument_spec({"name": {"type": "list", "elements": "str", "required": True}})
        said = self._low_level_execute_command(shlex.join([*_ASK, *args["name"]]))
        if said["rc"] == 0 and set(said["stdout"].split()) == {"installed"}:
            return {**result, "changed": False}
        options = {"install_recommends": False, "update_cache": True, "cache_valid_time": 86400}
        apt: dict[str, Any] = self._execute_module("ansible.builtin.apt", {**args, **options}, task_vars=task_vars)
        return {**result, **apt}
