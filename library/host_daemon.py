#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_daemon
short_description: Run a guest's daemon on the host
description:
  - Runs a daemon as a systemd service where systemd is PID 1, and under runit's C(runsv) otherwise.
  - A daemon that exits with status 0 stays stopped; after any other exit it is restarted.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  name:
    description: The daemon's name, without a hyphen.
    type: str
    required: true
  guest:
    description: The name of the guest that it serves.
    type: str
    required: true
  argv:
    description: The command and its arguments. Required with V(started).
    type: list
    elements: str
    default: []
  environment:
    description: The daemon's environment variables.
    type: dict
    default: {}
  version:
    description: The version of the program, any text. The daemon is restarted when it changes.
    type: str
    default: ""
  memory:
    description:
      - The most memory that the daemon may take, in bytes; V(0) stands for any.
      - The kernel kills a daemon that takes more, and it is started again. Where systemd is not PID 1, that needs the
        package C(portchain) in C(PYTHONPATH) of O(environment), and the memory controller of control groups.
    type: int
    default: 0
  state:
    description:
      - V(started) runs the daemon as defined, V(stopped) stops it, V(absent) also removes its definition, its log and
        O(leftovers).
    type: str
    choices: [started, stopped, absent]
    default: started
  ready:
    description: A Unix socket on which the daemon accepts connections once it is ready; waited for after a start.
    type: path
  ready_timeout:
    description: How many seconds to wait for O(ready).
    type: int
    default: 20
  leftovers:
    description: Files and folders that the daemon leaves behind, or patterns such as C(*.sock); V(absent) removes them.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    description: Reports whether the daemon would be started, restarted, stopped or removed.
    support: full
  diff_mode:
    description: Shows the daemon's definition, before and after.
    support: full
  idempotent:
    description: Leaves a daemon alone that already is as asked for.
    support: full
"""

EXAMPLES = r"""
- name: Run a daemon
  host_daemon:
    name: forwarder
    guest: linuxkit
    argv: [/usr/bin/python3, -m, portchain.host, --guest, linuxkit]
    environment: {PYTHONPATH: /usr/local/lib/portchain}
    memory: 1073741824
    ready: /run/portchain/linuxkit/control.sock

- name: Remove a daemon
  host_daemon:
    name: forwarder
    guest: linuxkit
    state: absent
"""

RETURN = r"""
pid:
  description: The process id of the daemon.
  returned: when the daemon runs
  type: int
  sample: 4242
"""

from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain.linux import service_manager  # noqa: E402
from ansible.module_utils.portchain.linux.service_manager import Daemon  # noqa: E402

ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "guest": {"type": "str", "required": True},
    "argv": {"type": "list", "elements": "str", "default": []},
    "environment": {"type": "dict", "default": {}},
    "version": {"type": "str", "default": ""},
    "memory": {"type": "int", "default": 0},
    "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
    "ready": {"type": "path"},
    "ready_timeout": {"type": "int", "default": 20},
    "leftovers": {"type": "list", "elements": "path", "default": []},
}


def matching(pattern: str) -> list[Path]:
    """Return the paths that match a pattern, or the pattern itself as a path."""
    return sorted(Path("/").glob(pattern.lstrip("/"))) or [Path(pattern)]


def would_change(state: str, wanted: Daemon, leftovers: list[Path]) -> bool:
    """Return whether the daemon is not yet in the state asked for."""
    if state == "absent":
        return bool(service_manager.installed_text(wanted)) or any(path.exists() for path in leftovers)
    if state == "stopped":
        return service_manager.pid(wanted) is not None
    return service_manager.differs(wanted) or service_manager.pid(wanted) is None


def apply(params: dict[str, Any], wanted: Daemon, leftovers: list[Path]) -> bool:
    """Bring the daemon into its state; return whether anything was done. Raise DaemonError or OSError."""
    if params["state"] == "absent":
        ended = service_manager.ensure_absent(wanted)
        return service_manager.remove_leftovers(leftovers) or ended
    if params["state"] == "stopped":
        return service_manager.ensure_stopped(wanted)
    changed = service_manager.ensure_started(wanted)
    if params["ready"]:
        service_manager.wait_ready(wanted, Path(params["ready"]), params["ready_timeout"])
    return changed


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS, supports_check_mode=True, required_if=[("state", "started", ("argv",))]
    )
    params = module.params
    environment = {key: str(value) for key, value in params["environment"].items()}
    wanted = Daemon(
        params["name"], params["guest"], tuple(params["argv"]), environment, params["version"], params["memory"]
    )
    leftovers = [wanted.logs, *(path for pattern in params["leftovers"] for path in matching(pattern))]
    try:
        before = service_manager.installed_text(wanted)
        if module.check_mode:
            changed = would_change(params["state"], wanted, leftovers)
        else:
            changed = apply(params, wanted, leftovers)
        pid = service_manager.pid(wanted)
    except (OSError, service_manager.DaemonError) as error:
        module.fail_json(msg=str(error))
    after = {"started": service_manager.wanted_text(wanted), "stopped": before, "absent": ""}[params["state"]]
    module.exit_json(changed=changed, diff={"before": before, "after": after}, **({"pid": pid} if pid else {}))


if __name__ == "__main__":
    main()
