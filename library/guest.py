#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: guest
short_description: Start, stop or remove a guest
description:
  - Keeps a LinuxKit-like guest, run by the driver C(namespace) in a user namespace, in the wanted state.
  - A running guest that is made of something else than asked for is restarted; its data disk stays.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  name:
    description: The guest.
    type: str
    required: true
  state:
    description:
      - V(started) has the guest running, V(stopped) powers it off and keeps its disk, V(restarted) reboots it,
        V(absent) removes its disk and all its traces.
    type: str
    choices: [started, stopped, restarted, absent]
    default: started
  hostname:
    description: Its host name.
    type: str
    default: linuxkit
  uid_base:
    description: The first of the host's user and group ids that are the guest's own; the guest's root is this user.
    type: int
    default: 1000000
  uid_count:
    description: How many ids the guest has.
    type: int
    default: 1000000
  memory:
    description: The most memory it may use, such as C(2g).
    type: str
    default: 4g
  cpus:
    description: The most processors it may use.
    type: float
    default: 2.0
  pids:
    description: The most processes it may have.
    type: int
    default: 4096
  subnet:
    description: The network between its eth0 and its private gateway.
    type: str
    default: 192.168.65.0/24
  uplink:
    description: Whether the guest can go where the host can go, through a private gateway and pasta.
    type: bool
    default: true
  host_access:
    description:
      - TCP ports and ranges of the host's loopback, such as V(8000-8100), that it and its containers may reach at
        C(host.docker.internal). Another list takes effect at once, without a restart.
    type: list
    elements: str
    default: ["1-65535"]
  allowlist:
    description:
      - Names, C(*.NAME) for all below it, addresses and networks that it and its containers may look up and reach over
        its proxy; all if empty. Another list takes effect at once, without a restart.
    type: list
    elements: str
    default: []
  http_proxy:
    description:
      - The host's proxy, C(http://[user:password@]host:port) or C(socks5://…), that its own proxy hands on to; none if
        empty. One on the host's loopback is reached as C(host.docker.internal). It takes effect at once, too.
    type: str
    default: ""
  no_proxy:
    description: What is reached past O(http_proxy), in the words of the variable C(no_proxy).
    type: list
    elements: str
    default: []
  shares:
    description:
      - Folders of the host that it and its containers have at the same path, such as V(/srv/data) or V(~/work) in the
        home of O(owner), with V(:ro) after it for reading only. Another list takes effect at once, without a restart.
    type: list
    elements: str
    default: []
  owner:
    description: The user of the host who runs it. Its root is this user in O(shares).
    type: str
    default: root
  disk_size:
    description: The size of its data disk; it can grow, but never shrinks.
    type: str
    default: 20g
  root:
    description: Its root file system, a folder. Required where it is started.
    type: path
  images:
    description: Root file systems of its services, by the name that their entries use.
    type: dict
    default: {}
  source:
    description: The folder that holds the Python package portchain on the host.
    type: path
    default: /usr/local/lib/portchain
attributes:
  check_mode:
    description: Says whether the guest would be started, restarted, stopped or removed.
    support: full
  diff_mode:
    description: Shows the guest's state and make-up, before and after.
    support: full
  idempotent:
    description: Leaves a guest alone that is as asked for.
    support: full
"""

EXAMPLES = r"""
- name: Start a guest
  guest:
    name: linuxkit
    memory: 2g
    root: /var/cache/portchain/images/guest-0123456789ab
    images:
      docker: /var/cache/portchain/images/docker-0123456789ab
      services: /var/cache/portchain/images/services-0123456789ab

- name: Power it off
  guest:
    name: linuxkit
    state: stopped
"""

RETURN = r"""
status:
  description: How the guest is afterwards.
  returned: always
  type: dict
  sample: {"name": "linuxkit", "state": "running", "driver": "namespace", "pid": 4242, "uptime": 0.6}
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain.daemon import STATE, DaemonError  # noqa: E402
from ansible.module_utils.portchain.guest import manage, share_mounts  # noqa: E402
from ansible.module_utils.portchain.guest.live import Live  # noqa: E402
from ansible.module_utils.portchain.guest.spec import GuestSpec, parse_size  # noqa: E402

ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["started", "stopped", "restarted", "absent"], "default": "started"},
    "hostname": {"type": "str", "default": "linuxkit"},
    "uid_base": {"type": "int", "default": 1000000},
    "uid_count": {"type": "int", "default": 1000000},
    "memory": {"type": "str", "default": "4g"},
    "cpus": {"type": "float", "default": 2.0},
    "pids": {"type": "int", "default": 4096},
    "subnet": {"type": "str", "default": "192.168.65.0/24"},
    "uplink": {"type": "bool", "default": True},
    "host_access": {"type": "list", "elements": "str", "default": ["1-65535"]},
    "allowlist": {"type": "list", "elements": "str", "default": []},
    "http_proxy": {"type": "str", "default": ""},
    "no_proxy": {"type": "list", "elements": "str", "default": []},
    "shares": {"type": "list", "elements": "str", "default": []},
    "owner": {"type": "str", "default": "root"},
    "disk_size": {"type": "str", "default": "20g"},
    "root": {"type": "path"},
    "images": {"type": "dict", "default": {}},
    "source": {"type": "path", "default": "/usr/local/lib/portchain"},
}


def read_spec(params: dict) -> GuestSpec:
    """The spec that the module's parameters ask for."""
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


def would_change(state: str, before: manage.Status, spec: GuestSpec | None, live: Live) -> bool:
    """Whether the state asked for is not the present one."""
    if state == "absent":
        return before.state != "absent"
    if state == "stopped" or spec is None:
        return before.state in ("running", "starting")
    as_asked = before.state == "running" and not manage.differs(spec) and not live.differs(STATE / spec.name)
    return state == "restarted" or not as_asked


def apply(state: str, name: str, spec: GuestSpec | None, live: Live) -> bool:
    """Bring the guest into ``state``; returns whether anything was done."""
    if state == "absent":
        return manage.remove(name)
    if state == "stopped" or spec is None:
        return manage.stop(name)
    if state == "restarted":
        manage.stop(name)
    told = live.apply(STATE / name)
    changed = manage.start(spec) or told
    share_mounts.wait(spec)
    return changed


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_if=[("state", "started", ("root",)), ("state", "restarted", ("root",))],
    )
    state, name = module.params["state"], module.params["name"]
    before = manage.status(name)
    try:
        spec = read_spec(module.params) if state in ("started", "restarted") else None
        live = Live.parse(module.params)
        old_text = manage.defined_text(name)
        if module.check_mode:
            changed, after = would_change(state, before, spec, live), before
        else:
            changed = apply(state, name, spec, live)
            after = manage.status(name)
    except (ValueError, OSError, TimeoutError, DaemonError) as error:
        module.fail_json(msg=str(error))
    wanted = {"started": "running", "restarted": "running"}.get(state, state)
    module.exit_json(
        changed=changed,
        status=after.as_dict(),
        diff={
            "before": f"state: {before.state}\n{old_text}",
            "after": f"state: {wanted if changed else before.state}\n{manage.text(spec, live) if spec else ''}",
        },
    )


if __name__ == "__main__":
    main()
