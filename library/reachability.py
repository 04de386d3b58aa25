#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: reachability
short_description: Assert that host ports reach their servers, hop by hop
description:
  - Traces the chain from each of the host's ports that leads into a guest, as C(portchain trace) does, and fails with
    the hop that breaks, what was seen there and what to do.
  - Connects to each TCP port as well, unless O(probe) is false, and fails where no server answers.
  - Retries until all chains are whole or O(timeout) has passed.
  - Warns of ports that running containers ask for and the engine does not publish, as on an internal network. It fails
    for these only where O(ports) or O(expect) has them.
  - Stores the chains without what changes by itself, such as process ids. The task is changed where they differ from
    the last run, and C(--diff) shows how. With O(ports) nothing is stored, and the task is never changed.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  guest:
    description: The guest.
    type: str
    required: true
  ports:
    description: The ports, in the syntax of C(portchain trace); by default every one that leads into the guest.
    type: list
    elements: str
    default: []
  timeout:
    description: How many seconds the chains have to become whole.
    type: float
    default: 30
  probe:
    description: Whether to connect to the TCP ports as well.
    type: bool
    default: true
  expect:
    description:
      - Chains that must be there and lead where they should. The filter C(plan_chains) plans them.
      - A chain is known by O(expect[].port), or by O(expect[].container) and O(expect[].container_port) where the host
        has a choice of port.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: The port of the host.
        type: int
      address:
        description: The address of the host; any if it is not given.
        type: str
      protocol:
        description: The protocol of the port.
        type: str
        choices: [tcp, udp]
        default: tcp
      target:
        description: Where the forward leads in the guest, C(address:port) or a socket's path.
        type: str
      guest:
        description: What the guest listens on, C(address:port).
        type: str
      to:
        description: Where the nat rule leads, or docker-proxy, C(address:port).
        type: str
      network:
        description: The container's network.
        type: str
      bridge:
        description: The bridge's interface.
        type: str
      container:
        description: The container's name.
        type: str
      container_port:
        description: The container's port.
        type: int
attributes:
  check_mode:
    description: Traces the chains, asserts nothing and stores nothing.
    support: full
  diff_mode:
    description: Shows a line for each chain.
    support: full
  idempotent:
    description: Chains that are as before are no change.
    support: full
"""

EXAMPLES = r"""
- name: Assert that every port that leads into the guest reaches its server
  reachability:
    guest: linuxkit

- name: Assert that one port leads where it should
  reachability:
    guest: linuxkit
    ports: ["8080"]
    expect:
      - port: 8080
        to: 172.17.0.2:8080
        container: nginx
"""

RETURN = r"""
chains:
  description:
    - Each chain with its hops, as C(portchain trace --json) has them.
    - Where the task fails, the broken ones alone, so that the message is not lost among the others.
  returned: always
  type: list
  elements: dict
reached:
  description: The chains that are whole, one line each.
  returned: always
  type: list
  elements: str
  sample: ["tcp :8080 → 0.0.0.0:8080 → 172.17.0.2:8080 → bridge → nginx"]
broken:
  description: What is broken or not as expected, each with the hops up to there and what to do.
  returned: always
  type: list
  elements: str
unpublished:
  description: Containers that ask for ports which the engine does not publish, one line each, with the reason.
  returned: always
  type: list
  elements: str
"""

from dataclasses import asdict  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain.linux.service_manager import STATE  # noqa: E402
from ansible.module_utils.portchain.trace.assertion import ChainAssertion, assert_chains  # noqa: E402
from ansible.module_utils.portchain.trace.parse.guest_evidence import EvidenceError  # noqa: E402
from ansible.module_utils.portchain.trace.query import Query  # noqa: E402
from ansible.module_utils.portchain.trace.render.text_width import plain  # noqa: E402
from ansible.module_utils.portchain.trace.summary import EXPECTED, describe_failure, line, snapshot  # noqa: E402

_EXPECT: dict[str, Any] = {
    "port": {"type": "int"},
    "address": {"type": "str"},
    "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
    "target": {"type": "str"},
    **{word: {"type": "str"} for word in EXPECTED},
    "container_port": {"type": "int"},
}
_SPEC: dict[str, Any] = {
    "guest": {"type": "str", "required": True},
    "ports": {"type": "list", "elements": "str", "default": []},
    "timeout": {"type": "float", "default": 30},
    "probe": {"type": "bool", "default": True},
    "expect": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": _EXPECT,
        "required_one_of": [("port", "container_port")],
        "required_by": {"container_port": ("container",)},
    },
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=_SPEC, supports_check_mode=True)
    given = module.params
    try:
        queries = tuple(Query.parse(one) for one in given["ports"])
    except ValueError as error:
        module.fail_json(msg=f"ports: {error}")
    wanted = ChainAssertion(queries, given["expect"], given["probe"], 0 if module.check_mode else given["timeout"])
    try:
        found = assert_chains(given["guest"], wanted)
    except EvidenceError as error:
        module.fail_json(msg=str(error))
    chains = [chain for one in found.traces for chain in one.chains]
    broken = [describe_failure(chain) for chain in chains if chain.verdict] + found.problems
    told: dict[str, list[Any]] = {
        "broken": broken,
        "chains": [asdict(chain) for chain in chains],
        "reached": [line(chain) for chain in chains if not chain.verdict],
        "unpublished": [plain(str(one)) for one in found.unpublished],
    }
    for one in told["unpublished"]:
        module.warn(f"guest {given['guest']}: {one}")
    if broken and not module.check_mode:
        told["chains"] = [asdict(chain) for chain in chains if chain.verdict]
        module.fail_json(msg="\n".join([f"guest {given['guest']}: not every port reaches its server", *broken]), **told)
    stored = STATE / given["guest"] / "chains.txt"
    before, after = stored.read_text("utf-8") if stored.exists() else "", snapshot(found.traces)
    if queries or (module.check_mode and broken):
        module.exit_json(changed=False, **told)
    if before != after and not module.check_mode:
        stored.write_text(after, "utf-8")
    module.exit_json(changed=before != after, diff={"before": before, "after": after}, **told)


if __name__ == "__main__":
    main()
