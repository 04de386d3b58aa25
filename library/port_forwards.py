#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: port_forwards
short_description: Declare the forwards of a guest
description:
  - Makes the given forwards the ones that the guest's forwarder has been told of, all of them or none.
  - Fails, naming the port and who holds it, where one of them cannot be listened on; then nothing has changed.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  guest:
    description: The guest.
    type: str
    required: true
  forwards:
    description: All of them; those that are not given are removed.
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
        description: The protocol of both.
        type: str
        choices: [tcp, udp]
        default: tcp
      proxy_protocol:
        description: The version of the PROXY protocol in which the target is told of each client; for tcp.
        type: str
        choices: ["", v1, v2]
        default: ""
attributes:
  check_mode:
    description: Says what would change, and which ports could not be listened on; the forwarder need not run yet.
    support: full
  diff_mode:
    description: Shows the forwards, before and after.
    support: full
  idempotent:
    description: Leaves forwards alone that are as asked for.
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
  description: The forwards afterwards, in check mode those that are there.
  returned: success
  type: list
  elements: dict
  sample:
    - {"listen": ":8080", "target": "127.0.0.1:8080", "protocol": "tcp", "proxy_protocol": "", "origin": "declared",
       "owner": "declared", "state": "waiting", "connections": 0, "active": 0, "received": 0, "sent": 0,
       "dropped": 0, "error": ""}
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain.daemon import RUN  # noqa: E402
from ansible.module_utils.portchain.forwarder.declare import (  # noqa: E402
    DeclareError,
    bound,
    declare,
    declared,
    predict_conflicts,
)
from ansible.module_utils.portchain.forwarder.plan import plan, read_forwards  # noqa: E402

FORWARD = {
    "listen": {"type": "str", "required": True},
    "target": {"type": "str", "required": True},
    "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
    "proxy_protocol": {"type": "str", "choices": ["", "v1", "v2"], "default": ""},
}


def text(forwards: list) -> str:
    """A line for each forward."""
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
        answer = declared(control, may_be_absent=module.check_mode)
        current = bound(answer)
        steps = plan(current, wanted)
        if steps.changed and module.check_mode:
            predict_conflicts(steps)
        elif steps.changed:
            answer = declare(control, wanted)
    except (ValueError, DeclareError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=steps.changed, forwards=answer, diff={"before": text(current), "after": text(wanted)})


if __name__ == "__main__":
    main()
