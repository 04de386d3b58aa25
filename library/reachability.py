#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: reachability
short_description: Assert that host ports reach their servers
description:
  - Connects from the host to each TCP port that leads into a guest, and fails where no server answers at the end of
    its chain.
  - All are tried at once, each until it answers or the time is over.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  guest:
    description: The guest.
    type: str
    required: true
  timeout:
    description: How many seconds a port has to answer.
    type: float
    default: 30
attributes:
  check_mode:
    description: Connects to nothing.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: See that every port that leads into the guest has a server behind it
  reachability:
    guest: linuxkit
"""

RETURN = r"""
reached:
  description: The forwards that lead to a server.
  returned: always
  type: list
  elements: str
  sample: ["tcp::8080 -> tcp:127.0.0.1:8080"]
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain.chain.probe import probe_all  # noqa: E402
from ansible.module_utils.portchain.daemon import RUN  # noqa: E402
from ansible.module_utils.portchain.forwarder.declare import DeclareError, bound, listed  # noqa: E402


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"guest": {"type": "str", "required": True}, "timeout": {"type": "float", "default": 30}},
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False, reached=[])
    try:
        rows = [one for one in listed(RUN / module.params["guest"] / "control.sock") if one["origin"] != "system"]
    except DeclareError as error:
        module.fail_json(msg=str(error))
    findings = probe_all(bound(rows), module.params["timeout"])
    reached = [f"{f.forward.listen} -> {f.forward.target}" for f in findings if not f.problem]
    broken = [f"{f.forward.listen} -> {f.forward.target}: {f.problem}" for f in findings if f.problem]
    broken += [f"{one['listen']} -> {one['target']}: {one['error']}" for one in rows if one["state"] == "failed"]
    if broken:
        module.fail_json(msg="; ".join(broken), reached=reached)
    module.exit_json(changed=False, reached=reached)


if __name__ == "__main__":
    main()
