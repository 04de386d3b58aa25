#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: reachability
short_description: Assert that host ports reach their servers
description:
  - Connects to each TCP forward from the host and fails where no server answers at the end of its chain.
  - All forwards are tried at once, each until it answers or the time is over.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  forwards:
    description: The forwards, each with C(listen) and C(target).
    type: list
    elements: dict
    required: true
    suboptions:
      listen:
        description: The host's address and port, such as C(:8080).
        type: str
        required: true
      target:
        description: The guest's address and port.
        type: str
        required: true
      protocol:
        description: The protocol; those other than TCP are passed over.
        type: str
        choices: [tcp, udp, unix]
        default: tcp
  timeout:
    description: How many seconds a forward has to answer.
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
- name: See that nginx answers
  reachability:
    forwards:
      - listen: ":8080"
        target: 127.0.0.1:8080
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
from ansible.module_utils.portchain.mapping.forward import Forward  # noqa: E402

FORWARD = {
    "listen": {"type": "str", "required": True},
    "target": {"type": "str", "required": True},
    "protocol": {"type": "str", "choices": ["tcp", "udp", "unix"], "default": "tcp"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "forwards": {"type": "list", "elements": "dict", "required": True, "options": FORWARD},
            "timeout": {"type": "float", "default": 30},
        },
        supports_check_mode=True,
    )
    try:
        forwards = [Forward.parse(f["listen"], f["target"], f["protocol"]) for f in module.params["forwards"]]
    except ValueError as error:
        module.fail_json(msg=str(error))
    findings = [] if module.check_mode else probe_all(forwards, module.params["timeout"])
    broken = [f"{f.forward.listen} -> {f.forward.target}: {f.problem}" for f in findings if f.problem]
    reached = [f"{f.forward.listen} -> {f.forward.target}" for f in findings if not f.problem]
    if broken:
        module.fail_json(msg="; ".join(broken), reached=reached)
    module.exit_json(changed=False, reached=reached)


if __name__ == "__main__":
    main()
