#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: port_forward
short_description: Add or remove one forward of a guest by hand
description:
  - Has the guest's forwarder listen on the host and lead to a target in the guest, beside the declared forwards, which
    C(port_forwards) sets as a whole and this module leaves alone.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  guest:
    description: The guest.
    type: str
    required: true
  listen:
    description:
      - The host's end, such as C(:8081) for every address, C(127.0.0.1:8081) or C(unix:/path), the path being directly
        in C(/run/portchain/<guest>).
    type: str
    required: true
  target:
    description: The guest's end, such as C(127.0.0.1:8080) or C(unix:/path). Required where the forward is to be there.
    type: str
  protocol:
    description: The protocol of both ends, where they do not say.
    type: str
    choices: [tcp, udp]
    default: tcp
  proxy_protocol:
    description: The version of the PROXY protocol in which the target is told of each client; for tcp.
    type: str
    choices: ["", v1, v2]
    default: ""
  state:
    description: Whether the forward is there.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Says whether anything would change, and fails where the host's port could not be had.
    support: full
  diff_mode:
    description: Shows the forward before and after.
    support: full
  idempotent:
    description: Leaves a forward alone that is as asked for.
    support: full
"""

EXAMPLES = r"""
- name: Lead another port to nginx
  port_forward:
    guest: linuxkit
    listen: 127.0.0.1:8081
    target: 127.0.0.1:8080

- name: Lead DNS to a resolver in the guest
  port_forward:
    guest: linuxkit
    listen: 127.0.0.1:5353
    target: 127.0.0.1:53
    protocol: udp

- name: Take the first away
  port_forward:
    guest: linuxkit
    listen: 127.0.0.1:8081
    state: absent
"""

RETURN = r"""
forward:
  description: The forward as it is asked for.
  returned: success
  type: dict
  sample:
    {"listen": "127.0.0.1:8081", "target": "127.0.0.1:8080", "protocol": "tcp", "proxy_protocol": "",
     "state": "present"}
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain.daemon import RUN  # noqa: E402
from ansible.module_utils.portchain.forwarder.declare import (  # noqa: E402
    DeclareError,
    bound,
    expose,
    listed,
    predict_conflicts,
    unexpose,
)
from ansible.module_utils.portchain.forwarder.plan import plan, read_forwards  # noqa: E402
from ansible.module_utils.portchain.mapping.forward import Endpoint  # noqa: E402


def before_and_after(params: dict, rows: list) -> tuple[list, list]:
    """The forwards there; ValueError says what cannot be read, DeclareError that the port is not ours to change."""
    listen = Endpoint.parse(params["listen"], params["protocol"])
    for row in rows:
        if row["origin"] != "manual" and Endpoint.parse(row["listen"], row["protocol"]) == listen:
            owner = f"{row['origin']} {row['owner']}" if row["owner"] != row["origin"] else row["origin"]
            raise DeclareError(f"host: {listen.place} leads to {row['target']} for {owner}: change it there")
    current = [f for f in bound(row for row in rows if row["origin"] == "manual") if f.listen == listen]
    asked = {word: params[word] for word in ("listen", "target", "protocol", "proxy_protocol")}
    return current, read_forwards([asked] if params["state"] == "present" else [])


def text(forwards: list) -> str:
    """A line for each forward."""
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
        rows = listed(control, may_be_absent=module.check_mode)
        before, after = before_and_after(module.params, rows)
        steps = plan(before, after)
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
