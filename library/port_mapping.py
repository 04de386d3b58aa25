#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: port_mapping
short_description: Plan the forwards that publications need
description:
  - Reads publications in every syntax of C(docker run -p) and of compose, and plans, as Docker Desktop does, what the
    guest's engine publishes and what the host forwards to it. Ports that the machine listens on are avoided.
  - Fails, naming each publication that cannot be had, and why. Changes nothing.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  publications:
    description: Publications, as strings, numbers or mappings.
    type: list
    elements: raw
    required: true
  known:
    description:
      - Forwards that are there. A random port keeps the host port that leads to its place in the guest.
    type: list
    elements: dict
    default: []
    suboptions:
      listen:
        description: Where the host listens, C(address:port); an empty address is the wildcard of both families.
        type: str
        required: true
      target:
        description: Where the forward leads in the guest, C(address:port).
        type: str
        required: true
      protocol:
        description: The protocol of both.
        type: str
        choices: [tcp, udp]
        default: tcp
  guest_addresses:
    description: The guest's own addresses beside its loopback; any other becomes 127.0.0.1 in the guest.
    type: list
    elements: str
    default: []
  guest_taken:
    description: Endpoints that others listen on in the guest, C(protocol:address:port).
    type: list
    elements: str
    default: []
  avoid_listeners:
    description: Whether to avoid what the machine listens on.
    type: bool
    default: true
attributes:
  check_mode:
    description: Nothing is ever changed.
    support: full
  diff_mode:
    description: There is nothing that could differ.
    support: none
  idempotent:
    description: The same input, and the same listeners, give the same plan.
    support: full
"""

EXAMPLES = r"""
- name: Plan the forwards of the seed's machine
  port_mapping:
    publications: ["22", "2376", "5000", "8443", "32443", "8080:8080"]
  register: planned

- name: Keep the host ports that there are
  port_mapping:
    publications: ["127.0.0.1::22", {target: 53, protocol: udp}]
    known: "{{ host_forwarder_forwards }}"
"""

RETURN = r"""
publications:
  description: One mapping a container port, in the words of compose's long form.
  returned: success
  type: list
  elements: dict
  sample: [{"target": 22, "published": "", "host_ip": "127.0.0.1", "protocol": "tcp"}]
forwards:
  description: For each publication what was asked for, what the guest's engine is asked for, and the forward.
  returned: success
  type: list
  elements: dict
  sample:
    - publication: 127.0.0.1::22/tcp
      guest: 127.0.0.1:55000:22/tcp
      forward: {"listen": "127.0.0.1:49152", "target": "127.0.0.1:55000", "protocol": "tcp"}
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain.mapping.plain import parse_publications, plan_forwards  # noqa: E402
from ansible.module_utils.portchain.preflight.sockets import listening  # noqa: E402

FORWARD = {
    "listen": {"type": "str", "required": True},
    "target": {"type": "str", "required": True},
    "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "publications": {"type": "list", "elements": "raw", "required": True},
            "known": {"type": "list", "elements": "dict", "default": [], "options": FORWARD},
            "guest_addresses": {"type": "list", "elements": "str", "default": []},
            "guest_taken": {"type": "list", "elements": "str", "default": []},
            "avoid_listeners": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    wanted, known = module.params["publications"], module.params["known"]
    addresses, guest_taken = module.params["guest_addresses"], module.params["guest_taken"]
    host_taken = [str(e) for e in listening().values()] if module.params["avoid_listeners"] else []
    try:
        module.exit_json(
            publications=parse_publications(wanted),
            forwards=plan_forwards(
                wanted, host_taken=host_taken, guest_taken=guest_taken, guest_addresses=addresses, known=known
            ),
        )
    except ValueError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
