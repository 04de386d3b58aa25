#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: port_forward_info
short_description: List the forwards of a guest
description:
  - Returns the forwards of the guest's forwarder, with their counters.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  guest:
    description: The guest's name on its machine.
    type: str
    required: true
attributes:
  check_mode:
    description: Changes nothing.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: List the ports that lead into the guest
  port_forward_info:
    guest: linuxkit
  register: ports
"""

RETURN = r"""
forwards:
  description: The forwards; C(origin) is system, declared, manual or container; C(state) listening, waiting or failed.
  returned: success
  type: list
  elements: dict
  sample:
    - {"listen": ":8080", "target": "127.0.0.1:8080", "protocol": "tcp", "proxy_protocol": "", "origin": "declared",
       "owner": "declared", "state": "listening", "connections": 2, "active": 0, "received": 154, "sent": 1268,
       "dropped": 0, "error": ""}
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain.host.forwarder.declare import DeclareError, list_forwards  # noqa: E402
from ansible.module_utils.portchain.linux.service_manager import RUN  # noqa: E402


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={"guest": {"type": "str", "required": True}}, supports_check_mode=True)
    try:
        module.exit_json(changed=False, forwards=list_forwards(RUN / module.params["guest"] / "control.sock"))
    except DeclareError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
