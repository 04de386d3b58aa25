#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: guest
short_description: Start, stop or remove a guest
description:
  - Keeps a LinuxKit-like guest in the wanted state. It runs in a user namespace, by the driver C(namespace).
  - A running guest whose definition differs from the options is restarted; its data disk is kept.
  - The guest gets nothing of the host that is not given here. The role C(guest) has defaults for all options.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  name:
    description: The guest's name on its machine.
    type: str
    required: true
  state:
    description:
      - V(started) runs the guest, V(stopped) powers it off and keeps its disk, V(restarted) reboots it, V(absent)
        removes it with its disk.
      - V(started) and V(restarted) require O(hostname), O(uid_base), O(uid_count), O(memory), O(cpus), O(pids),
        O(subnet), O(disk_size) and O(root).
    type: str
    choices: [started, stopped, restarted, absent]
    default: started
  hostname:
    description: The guest's host name.
    type: str
  uid_base:
    description: The first of the host's user and group ids that are the guest's own; it is the guest's root.
    type: int
  uid_count:
    description: How many ids the guest has.
    type: int
  memory:
    description: The most memory the guest may use, such as V(2g).
    type: str
  cpus:
    description: The most processors the guest may use.
    type: float
  pids:
    description: The most processes the guest may have.
    type: int
  subnet:
    description: The network between the guest's eth0 and its private gateway.
    type: str
  uplink:
    description: Whether the guest can reach what the host can reach, through its private gateway and pasta.
    type: bool
    default: false
  host_access:
    description:
      - TCP ports and ranges of the host's loopback, such as V(8000-8100), that the guest and its containers may reach
        at C(host.docker.internal). Changes take effect without a restart.
    type: list
    elements: str
    default: []
  allowlist:
    description:
      - What the guest and its containers may look up and reach through the guest's proxy - names, C(*.NAME) for every
        name below it, addresses and networks. Everything if empty. Changes take effect without a restart.
    type: list
    elements: str
    default: []
  http_proxy:
    description:
      - The host's proxy, C(http://[user:password@]host:port) or C(socks5://…), to which the guest's own proxy passes
        requests on; none if empty. A proxy on the host's loopback is reached as C(host.docker.internal).
      - Changes take effect without a restart.
    type: str
    default: ""
  no_proxy:
    description: What is reached without O(http_proxy), in the syntax of the environment variable C(no_proxy).
    type: list
    elements: str
    default: []
  dns_servers:
    description:
      - The name servers for the guest and its containers, by addresses as the host reaches them, V(127.0.0.53)
        included; those in the host's C(/etc/resolv.conf) if empty. Changes take effect without a restart.
    type: list
    elements: str
    default: []
  dns_search:
    description:
      - Domains in which the guest and its containers search short names; those in the host's C(/etc/resolv.conf) if
        empty, none if V(.) alone. Changes take effect in the guest at once, in containers when they start.
    type: list
    elements: str
    default: []
  shares:
    description:
      - Folders of the host that the guest and its containers see at the same path, such as V(/srv/data), or V(~/work)
        in the home of O(owner). Append V(:ro) for read-only, V(:user=1000) to have the container user 1000 own the
        files instead of root, or both as V(:ro,user=1000). Changes take effect without a restart.
    type: list
    elements: str
    default: []
  ssh_agent:
    description:
      - The socket of an SSH agent of O(owner) on the host, such as V(~/.ssh/agent.sock), which containers may use at
        C(/run/host-services/ssh-auth.sock); none if empty. Changes take effect without a restart.
    type: str
    default: ""
  owner:
    description:
      - The user of the host who runs the guest.
      - Files that the guest's root creates in O(shares) belong to this user, unless a share names another.
    type: str
    default: root
  disk_size:
    description: The size of the data disk, such as V(20g). It can grow but not shrink.
    type: str
  root:
    description: The guest's root file system, a folder.
    type: path
  images:
    description: The root file systems of the guest's services, by the names that their definitions use.
    type: dict
    default: {}
  bundles_changed:
    description:
      - Whether the bundles of the guest's services change in this run. Check mode, in which they are not written,
        reports the reboot of a running guest then.
    type: bool
    default: false
  source:
    description: The folder that holds the Python package portchain on the host.
    type: path
    default: /usr/local/lib/portchain
attributes:
  check_mode:
    description: Reports whether the guest would be started, restarted, stopped or removed.
    support: full
  diff_mode:
    description: Shows the guest's state and definition, before and after.
    support: full
  idempotent:
    description: Leaves a guest alone that already is as asked for.
    support: full
"""

EXAMPLES = r"""
- name: Start a guest
  guest:
    name: linuxkit
    hostname: linuxkit
    uid_base: 1000000
    uid_count: 1000000
    memory: 2g
    cpus: 2
    pids: 4096
    subnet: 192.168.65.0/24
    disk_size: 20g
    root: /var/cache/portchain/images/guest-0123456789ab
    images:
      docker: /var/cache/portchain/images/docker-0123456789ab
      services: /var/cache/portchain/images/services-0123456789ab

- name: Power off a guest
  guest:
    name: linuxkit
    state: stopped
"""

RETURN = r"""
status:
  description: The guest's state after the task.
  returned: always
  type: dict
  sample: {"name": "linuxkit", "state": "running", "driver": "namespace", "pid": 4242, "uptime": 0.6}
"""

from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain.host import guests, share_state  # noqa: E402
from ansible.module_utils.portchain.host.guest_spec import GuestSpec, parse_size  # noqa: E402
from ansible.module_utils.portchain.host.live_settings import LiveSettings  # noqa: E402
from ansible.module_utils.portchain.linux.service_manager import STATE, DaemonError  # noqa: E402

ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["started", "stopped", "restarted", "absent"], "default": "started"},
    "hostname": {"type": "str"},
    "uid_base": {"type": "int"},
    "uid_count": {"type": "int"},
    "memory": {"type": "str"},
    "cpus": {"type": "float"},
    "pids": {"type": "int"},
    "subnet": {"type": "str"},
    "uplink": {"type": "bool", "default": False},
    "host_access": {"type": "list", "elements": "str", "default": []},
    "allowlist": {"type": "list", "elements": "str", "default": []},
    "http_proxy": {"type": "str", "default": "", "no_log": True},
    "no_proxy": {"type": "list", "elements": "str", "default": []},
    "dns_servers": {"type": "list", "elements": "str", "default": []},
    "dns_search": {"type": "list", "elements": "str", "default": []},
    "shares": {"type": "list", "elements": "str", "default": []},
    "ssh_agent": {"type": "str", "default": ""},
    "owner": {"type": "str", "default": "root"},
    "disk_size": {"type": "str"},
    "root": {"type": "path"},
    "images": {"type": "dict", "default": {}},
    "bundles_changed": {"type": "bool", "default": False},
    "source": {"type": "path", "default": "/usr/local/lib/portchain"},
}
NEEDED = ("hostname", "uid_base", "uid_count", "memory", "cpus", "pids", "subnet", "disk_size", "root")


def read_spec(params: dict[str, Any]) -> GuestSpec:
    """Read the spec from the module's parameters."""
    name = params["name"]
    same = ("name", "hostname", "uid_base", "uid_count", "cpus", "pids", "subnet", "uplink", "root", "images", "source")
    return GuestSpec(
        **{key: params[key] for key in same},
        memory=parse_size(params["memory"]),
        disk_size=parse_size(params["disk_size"]),
        bundles=str(STATE / name / "containers"),
        disk=str(STATE / name / "data.img"),
        run_dir=f"/run/portchain/{name}",
    )


def would_change(
    state: str, before: guests.GuestStatus, spec: GuestSpec | None, live: LiveSettings, bundles_changed: bool
) -> bool:
    """Return whether the guest is not yet in the state asked for."""
    if state == "absent":
        return before.state != "absent"
    if state == "stopped" or spec is None:
        return before.state in ("running", "starting")
    as_asked = before.state == "running" and not guests.differs(spec) and not live.differs(STATE / spec.name)
    return state == "restarted" or bundles_changed or not as_asked or bool(share_state.find_problems(spec))


def apply(state: str, name: str, spec: GuestSpec | None, live: LiveSettings) -> bool:
    """Bring the guest into ``state``; return whether anything was done."""
    if state == "absent":
        return guests.remove(name)
    if state == "stopped" or spec is None:
        return guests.stop(name)
    if state == "restarted":
        guests.stop(name)
    told = live.apply(STATE / name)
    changed = guests.start(spec) or told
    return share_state.wait(spec) or changed


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_if=[("state", "started", NEEDED), ("state", "restarted", NEEDED)],
    )
    state, name = module.params["state"], module.params["name"]
    before = guests.status(name)
    try:
        spec = read_spec(module.params) if state in ("started", "restarted") else None
        live = LiveSettings.parse(module.params)
        old_text = guests.describe_defined(name)
        if spec and before.state == "running" and not live.differs(STATE / name):
            old_text += "".join(f"{line}\n" for line in share_state.find_problems(spec))
        if module.check_mode:
            changed, after = would_change(state, before, spec, live, module.params["bundles_changed"]), before
        else:
            changed = apply(state, name, spec, live)
            after = guests.status(name)
    except (ValueError, OSError, TimeoutError, DaemonError) as error:
        module.fail_json(msg=str(error))
    wanted = {"started": "running", "restarted": "running"}.get(state, state)
    module.exit_json(
        changed=changed,
        status=after.as_dict(),
        diff={
            "before": f"state: {before.state}\n{old_text}",
            "after": f"state: {wanted if changed else before.state}\n{guests.describe(spec, live) if spec else ''}",
        },
    )


if __name__ == "__main__":
    main()
