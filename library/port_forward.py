#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: port_forward
short_description: Add or remove one forward of a guest
description:
  - Adds a forward, a listening socket on the host that leads to a target in the guest, to the guest's forwarder.
  - Declared forwards, which C(port_forwards) sets as a whole, are left alone.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  guest:
    description: The guest's name on its machine.
    type: str
    required: true
  listen:
    description:
      - Where the host listens, such as C(:8081) for every address, C(127.0.0.1:8081) or C(unix:/path); the path must be
        directly in C(/run/portchain/<guest>).
    type: str
    required: true
  target:
    description: Where the forward leads in the guest, C(127.0.0.1:8080) or C(unix:/path). Required with V(present).
    type: str
  protocol:
    description: The protocol of both ends, unless they name one.
    type: str
    choices: [tcp, udp]
    default: tcp
  proxy_protocol:
    description: The version of the PROXY protocol that tells the target each client's address; tcp only.
    type: str
    choices: ["", v1, v2]
    default: ""
  state:
    description: Whether the forward exists.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Reports whether anything would change, and fails if the host's port could not be bound.
    support: full
  diff_mode:
    description: Shows the forward before and after.
    support: full
  idempotent:
    description: Leaves a forward alone that already is as asked for.
    support: full
"""

EXAMPLES = r"""
- name: Forward another port to nginx
  port_forward:
    guest: linuxkit
    listen: 127.0.0.1:8081
    target: 127.0.0.1:8080

- name: Forward DNS to a resolver in the guest
  port_forward:
    guest: linuxkit
    listen: 127.0.0.1:5353
    target: 127.0.0.1:53
    protocol: udp

- name: Remove the forward to nginx
  port_forward:
    guest: linuxkit
    listen: 127.0.0.1:8081
    state: absent
"""

RETURN = r"""
forward:
  description: The forward that was asked for.
  returned: success
  type: dict
  sample:
    {"listen": "127.0.0.1:8081", "target": "127.0.0.1:8080", "protocol": "tcp", "proxy_protocol": "",
     "state": "present"}
"""

from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain.host.forwarder.declare import (  # noqa: E402
    DeclareError,
    bound_forwards,
    expose,
    list_forwards,
    predict_conflicts,
    unexpose,
)
from ansible.module_utils.portchain.host.forwarder.forward_changes import plan_changes, read_forwards  # noqa: E402
from ansible.module_utils.portchain.linux.service_manager import RUN  # noqa: E402
from ansible.module_utils.portchain.ports.forward import Endpoint, Forward  # noqa: E402


def before_and_after(params: dict[str, Any], rows: list[dict[str, Any]]) -> tuple[list[Forward], list[Forward]]:
    """Return the forwards before and after; raise ValueError, or DeclareError if the port is another's."""
    listen = Endpoint.parse(params["listen"], params["protocol"])
    for row in rows:
        if row["origin"] != "manual" and Endpoint.parse(row["listen"], row["protocol"]) == listen:
            owner = f"{row['origin']} {row['owner']}" if row["owner"] != row["origin"] else row["origin"]
            raise DeclareError(f"host: {listen.hostport} leads to {row['target']} for {owner}: change it there")
    current = [f for f in bound_forwards(row for row in rows if row["origin"] == "manual") if f.listen == listen]
    asked = {word: params[word] for word in ("listen", "target", "protocol", "proxy_protocol")}
    return current, read_forwards([asked] if params["state"] == "present" else [])


def text(forwards: list[Forward]) -> str:
    """Format the forwards, one line each."""
    return "".join(f"{f.listen} -> {f.target} {f.proxy_protocol}".rstrip() + "\n" for f in forwards)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "guest": {"type": "str", "required": True},
            "listen": {"type": "str", "required": True},
            "target": {"type": "str"},
            "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
            "proxy_protocol": {"type": "str", "choices": ["", "v1", "v2"], "default": ""},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("target",))],
        supports_check_mode=True,
    )
    control = RUN / module.params["guest"] / "control.sock"
    try:
        rows = list_forwards(control, may_be_absent=module.check_mode)
        before, after = before_and_after(module.params, rows)
        steps = plan_changes(before, after)
        if module.check_mode:
            predict_conflicts(steps)
        else:
            for forward in (*steps.close, *steps.retarget):
                unexpose(control, forward.listen)
            for forward in (*steps.open, *steps.retarget):
                expose(control, forward)
    except (ValueError, DeclareError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=steps.changed,
        forward={key: module.params[key] for key in ("listen", "target", "protocol", "proxy_protocol", "state")},
        diff={"before": text(before), "after": text(after)},
    )


if __name__ == "__main__":
    main()
