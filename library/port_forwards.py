#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: port_forwards
short_description: Declare the forwards of a guest
description:
  - Declares the given forwards to the guest's forwarder, all or none of them. Others that were declared are removed.
  - Fails if the host cannot listen on one of them, and names the port and who holds it; then nothing has changed.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  guest:
    description: The guest's name on its machine.
    type: str
    required: true
  forwards:
    description: All forwards that are declared.
    type: list
    elements: dict
    default: []
    suboptions:
      listen:
        description: Where the host listens, C(address:port); an empty address is the wildcard of both families.
        type: str
        required: true
      target:
        description: Where the forward leads in the guest, C(address:port) or C(unix:/path).
        type: str
        required: true
      protocol:
        description: The protocol of both ends.
        type: str
        choices: [tcp, udp]
        default: tcp
      proxy_protocol:
        description: The version of the PROXY protocol that tells the target each client's address; tcp only.
        type: str
        choices: ["", v1, v2]
        default: ""
attributes:
  check_mode:
    description: Reports what would change and which ports could not be bound; the forwarder need not run yet.
    support: full
  diff_mode:
    description: Shows the forwards, before and after.
    support: full
  idempotent:
    description: Leaves forwards alone that already are as asked for.
    support: full
"""

EXAMPLES = r"""
- name: Forward two ports, and no others
  port_forwards:
    guest: linuxkit
    forwards:
      - {listen: ":8080", target: "127.0.0.1:8080"}
      - {listen: "127.0.0.1:2375", target: "unix:/run/guest-services/docker.sock"}
"""

RETURN = r"""
forwards:
  description: The declared forwards after the task; in check mode the present ones.
  returned: success
  type: list
  elements: dict
  sample:
    - {"listen": ":8080", "target": "127.0.0.1:8080", "protocol": "tcp", "proxy_protocol": "", "origin": "declared",
       "owner": "declared", "state": "waiting", "connections": 0, "active": 0, "received": 0, "sent": 0,
       "dropped": 0, "error": ""}
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain.host.forwarder.declare import (  # noqa: E402
    DeclareError,
    bound_forwards,
    declare,
    list_declared,
    predict_conflicts,
)
from ansible.module_utils.portchain.host.forwarder.forward_changes import plan_changes, read_forwards  # noqa: E402
from ansible.module_utils.portchain.linux.service_manager import RUN  # noqa: E402
from ansible.module_utils.portchain.ports.forward import Forward  # noqa: E402

FORWARD = {
    "listen": {"type": "str", "required": True},
    "target": {"type": "str", "required": True},
    "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
    "proxy_protocol": {"type": "str", "choices": ["", "v1", "v2"], "default": ""},
}


def text(forwards: list[Forward]) -> str:
    """Format the forwards, one line each."""
    return "".join(sorted(f"{f.listen} -> {f.target} {f.proxy_protocol}".rstrip() + "\n" for f in forwards))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "guest": {"type": "str", "required": True},
            "forwards": {"type": "list", "elements": "dict", "default": [], "options": FORWARD},
        },
        supports_check_mode=True,
    )
    control = RUN / module.params["guest"] / "control.sock"
    try:
        wanted = read_forwards(module.params["forwards"])
        answer = list_declared(control, may_be_absent=module.check_mode)
        current = bound_forwards(answer)
        steps = plan_changes(current, wanted)
        if steps.changed and module.check_mode:
            predict_conflicts(steps)
        elif steps.changed:
            answer = declare(control, wanted)
    except (ValueError, DeclareError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=steps.changed, forwards=answer, diff={"before": text(current), "after": text(wanted)})


if __name__ == "__main__":
    main()
