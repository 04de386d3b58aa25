#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_daemon
short_description: Keep a daemon of a guest on the host
description:
  - Keeps a daemon running by a systemd unit where systemd is PID 1, by runit's C(runsv) otherwise.
  - A daemon that ends with status 0 has finished and stays down; any other ending restarts it.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  name:
    description: The daemon, without a hyphen.
    type: str
    required: true
  guest:
    description: The guest that it serves.
    type: str
    required: true
  argv:
    description: What to run. Required where it is to be started.
    type: list
    elements: str
    default: []
  environment:
    description: Its environment variables.
    type: dict
    default: {}
  version:
    description: Any text that stands for what is run; another one restarts the daemon.
    type: str
    default: ""
  state:
    description:
      - V(started) has it running as defined, V(stopped) has it down, V(absent) removes its definition, its log and its
        leftovers too.
    type: str
    choices: [started, stopped, absent]
    default: started
  ready:
    description: A unix socket that it answers on once it is ready; waited for after a start.
    type: path
  ready_timeout:
    description: How many seconds to wait for it at most.
    type: int
    default: 20
  leftovers:
    description: Files and folders that it leaves behind, removed with V(absent).
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    description: Says whether it would be started, restarted, stopped or removed.
    support: full
  diff_mode:
    description: Shows its definition, before and after.
    support: full
  idempotent:
    description: Leaves a daemon alone that is as asked for.
    support: full
"""

EXAMPLES = r"""
- name: Keep a daemon
  host_daemon:
    name: forwarder
    guest: linuxkit
    argv: [/usr/bin/python3, -m, portchain.forwarder, --guest, linuxkit]
    environment: {PYTHONPATH: /usr/local/lib/portchain}
    ready: /run/portchain/linuxkit/control.sock

- name: Remove it
  host_daemon:
    name: forwarder
    guest: linuxkit
    state: absent
"""

RETURN = r"""
pid:
  description: The running daemon.
  returned: when it runs
  type: int
  sample: 4242
"""

from pathlib import Path  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain import daemon  # noqa: E402
from ansible.module_utils.portchain.daemon import Daemon  # noqa: E402

ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "guest": {"type": "str", "required": True},
    "argv": {"type": "list", "elements": "str", "default": []},
    "environment": {"type": "dict", "default": {}},
    "version": {"type": "str", "default": ""},
    "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
    "ready": {"type": "path"},
    "ready_timeout": {"type": "int", "default": 20},
    "leftovers": {"type": "list", "elements": "path", "default": []},
}


def would_change(state: str, wanted: Daemon, leftovers: list[Path]) -> bool:
    """Whether the state asked for is not the present one."""
    if state == "absent":
        return bool(daemon.installed_text(wanted)) or any(path.exists() for path in leftovers)
    if state == "stopped":
        return daemon.pid(wanted) is not None
    return daemon.differs(wanted) or daemon.pid(wanted) is None


def apply(params: dict, wanted: Daemon, leftovers: list[Path]) -> bool:
    """Bring the daemon into its state; returns whether anything was done. Raises DaemonError, OSError."""
    if params["state"] == "absent":
        ended = daemon.ensure_absent(wanted)
        return daemon.remove_leftovers(leftovers) or ended
    if params["state"] == "stopped":
        return daemon.ensure_stopped(wanted)
    changed = daemon.ensure_started(wanted)
    if params["ready"]:
        daemon.wait_ready(wanted, Path(params["ready"]), params["ready_timeout"])
    return changed


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS, supports_check_mode=True, required_if=[("state", "started", ("argv",))]
    )
    params = module.params
    environment = {key: str(value) for key, value in params["environment"].items()}
    wanted = Daemon(params["name"], params["guest"], tuple(params["argv"]), environment, params["version"])
    leftovers = [wanted.logs, *map(Path, params["leftovers"])]
    try:
        before = daemon.installed_text(wanted)
        if module.check_mode:
            changed = would_change(params["state"], wanted, leftovers)
        else:
            changed = apply(params, wanted, leftovers)
        pid = daemon.pid(wanted)
    except (OSError, daemon.DaemonError) as error:
        module.fail_json(msg=str(error))
    after = {"started": daemon.wanted_text(wanted), "stopped": before, "absent": ""}[params["state"]]
    module.exit_json(changed=changed, diff={"before": before, "after": after}, **({"pid": pid} if pid else {}))


if __name__ == "__main__":
    main()
