#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: docker_engine_info
short_description: Wait for a guest's engine and say what it is
description:
  - Asks for the engine's version through the guest's C(docker.sock) on the host until it answers.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  guest:
    description: The guest.
    type: str
    required: true
  timeout:
    description: How many seconds to wait for the answer.
    type: float
    default: 60
attributes:
  check_mode:
    description: Does not wait for an engine that is not there.
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
  description: What the engine answers to C(GET /version); empty in check mode where no engine is there.
  returned: always
  type: dict
  sample: {"Version": "20.10.24+dfsg1", "ApiVersion": "1.41"}
boot_seconds:
  description: Seconds from the start of the guest to this answer; of use right after the start.
  returned: when the guest runs
  type: float
  sample: 1.9
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain.guest import manage  # noqa: E402
from ansible.module_utils.portchain.unix_http import get_json, wait_for_json  # noqa: E402


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
    try:
        if module.check_mode:
            version = get_json(socket, "/version", 2) if manage.status(guest).state == "running" else {}
        else:
            version = wait_for_json(socket, "/version", module.params["timeout"])
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"guest {guest}: no answer from the engine at {socket}: {error}")
    module.exit_json(changed=False, version=version, boot_seconds=manage.status(guest).uptime)


if __name__ == "__main__":
    main()
