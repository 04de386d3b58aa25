#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: docker_engine_info
short_description: Wait for a guest's engine and return its version
description:
  - Asks for the engine's version through the guest's C(docker.sock) on the host until it answers. Fails immediately
    if the guest has not been started.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  guest:
    description: The guest's name on its machine.
    type: str
    required: true
  timeout:
    description: How many seconds to wait for the answer.
    type: float
    default: 60
attributes:
  check_mode:
    description: Does not wait for an engine that does not run yet.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Wait for the engine
  docker_engine_info:
    guest: linuxkit
"""

RETURN = r"""
version:
  description: The engine's answer to C(GET /version); empty in check mode if no engine runs.
  returned: always
  type: dict
  sample: {"Version": "20.10.24+dfsg1", "ApiVersion": "1.41"}
boot_seconds:
  description: Seconds from the start of the guest to this answer; meaningful right after the start.
  returned: when the guest runs
  type: float
  sample: 1.9
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain.host import guests  # noqa: E402
from ansible.module_utils.portchain.http.blocking_client import wait_for_json  # noqa: E402


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "guest": {"type": "str", "required": True},
            "timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    guest = module.params["guest"]
    socket = f"/run/portchain/{guest}/docker.sock"
    status = guests.status(guest)
    runs = status.state in ("running", "starting")
    if not runs and not module.check_mode:
        module.fail_json(
            msg=f"guest {guest}: {status.state}, so there is no engine; playbooks/guest.yml starts the guest"
        )
    try:
        timeout = 2 if module.check_mode else module.params["timeout"]
        version = wait_for_json(socket, "/version", timeout) if runs else {}
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"guest {guest}: no answer from the engine at {socket}: {error}")
    module.exit_json(changed=False, version=version, boot_seconds=guests.status(guest).uptime)


if __name__ == "__main__":
    main()
