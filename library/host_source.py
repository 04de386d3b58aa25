#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_source
short_description: Install the package portchain for the host's daemons
description:
  - Copies the Python package as a whole to where the host's daemons and the guests find it, or removes it.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  src:
    description: The package's folder on the same machine. Required where it is to be present.
    type: path
  dest:
    description: The folder that holds the installed package.
    type: path
    default: /usr/local/lib/portchain
  state:
    description: Whether it is there. With V(absent) it stays for as long as any guest but O(guest) has a daemon.
    type: str
    choices: [present, absent]
    default: present
  guest:
    description: The guest that needs it no longer.
    type: str
attributes:
  check_mode:
    description: Says whether it would be copied or removed.
    support: full
  diff_mode:
    description: Shows the digest of what is installed, before and after.
    support: full
  idempotent:
    description: Leaves an equal copy alone.
    support: full
"""

EXAMPLES = r"""
- name: Install the package
  host_source:
    src: "{{ role_path }}/../../src/portchain"

- name: Remove it with the last guest
  host_source:
    state: absent
    guest: linuxkit
"""

RETURN = r"""
digest:
  description: Stands for the content of the package that is installed afterwards; empty when it is removed.
  returned: always
  type: str
  sample: 4dc1f5fc0a2d9a3b
"""

from pathlib import Path  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain import daemon, install  # noqa: E402

ARGUMENTS = {
    "src": {"type": "path"},
    "dest": {"type": "path", "default": "/usr/local/lib/portchain"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "guest": {"type": "str"},
}


def wanted_digest(params: dict, before: str) -> str:
    """What is to be installed afterwards; raises FileNotFoundError."""
    if params["state"] == "absent":
        return before if daemon.guests() - {params["guest"]} else ""
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
