#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_source
short_description: Install the Python package portchain on the host
description:
  - Copies the package to the folder from which the host's daemons and the guests import it, or removes it.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  src:
    description: The package to copy, a folder on the same machine. Required with V(present).
    type: path
  dest:
    description: The folder that holds the installed package.
    type: path
    default: /usr/local/lib/portchain
  state:
    description:
      - Whether the package is installed. V(absent) keeps it as long as a guest other than O(guest) has a daemon.
    type: str
    choices: [present, absent]
    default: present
  guest:
    description: The name of the guest that no longer needs the package.
    type: str
attributes:
  check_mode:
    description: Reports whether the package would be copied or removed.
    support: full
  diff_mode:
    description: Shows the digest of the installed package, before and after.
    support: full
  idempotent:
    description: Leaves an identical copy alone.
    support: full
"""

EXAMPLES = r"""
- name: Install the package
  host_source:
    src: "{{ role_path }}/../../src/portchain"

- name: Remove the package after the last guest
  host_source:
    state: absent
    guest: linuxkit
"""

RETURN = r"""
digest:
  description: The digest of the package that is installed after the task; empty if none is.
  returned: always
  type: str
  sample: 4dc1f5fc0a2d9a3b
"""

from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain.host import install  # noqa: E402
from ansible.module_utils.portchain.linux import service_manager  # noqa: E402

ARGUMENTS = {
    "src": {"type": "path"},
    "dest": {"type": "path", "default": "/usr/local/lib/portchain"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "guest": {"type": "str"},
}


def wanted_digest(params: dict[str, Any], before: str) -> str:
    """Return the digest of the package that is to be installed; raise FileNotFoundError."""
    if params["state"] == "absent":
        return before if service_manager.guests() - {params["guest"]} else ""
    found = install.digest(Path(params["src"]))
    if not found:
        raise FileNotFoundError(f"host: no package in {params['src']}: src must be the folder src/portchain")
    return found


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS, supports_check_mode=True, required_if=[("state", "present", ("src",))]
    )
    place = Path(module.params["dest"])
    before = install.digest(place / "portchain")
    try:
        after = wanted_digest(module.params, before)
        if not module.check_mode and after != before:
            install.install(Path(module.params["src"]), place) if after else install.remove(place)
    except OSError as error:
        module.fail_json(msg=f"host: installing the package: {error}")
    module.exit_json(
        changed=after != before,
        digest=after,
        diff={"before": f"{place}: {before or 'absent'}\n", "after": f"{place}: {after or 'absent'}\n"},
    )


if __name__ == "__main__":
    main()
