#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: reachability
short_description: Assert that host ports reach their servers, hop by hop
description:
  - Walks the chain from each of the host's ports that leads into a guest, as C(portchain trace) does, and fails with
    the hop that breaks, what was seen there and what to do.
  - Connects to each TCP port as well, unless I(probe) says otherwise, and fails where no server answers.
  - All are tried again and again until they are whole or the time is over.
  - Keeps what the chains were, without what changes by itself. The task has changed where they are others than at the
    last run, and C(--diff) shows how. With I(ports) nothing is kept, and nothing has changed.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  guest:
    description: The guest.
    type: str
    required: true
  ports:
    description: The ports, as C(portchain trace) takes them; by default every one that leads into the guest.
    type: list
    elements: str
    default: []
  timeout:
    description: How many seconds the chains have to become whole.
    type: float
    default: 30
  probe:
    description: Whether to connect to the TCP ports, too.
    type: bool
    default: true
  expect:
    description: Chains that must be there, and lead where they are said to.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: The port of the host.
        type: int
        required: true
      protocol:
        description: Of the port.
        type: str
        choices: [tcp, udp]
        default: tcp
      guest:
        description: What the guest listens on, C(address:port).
        type: str
      to:
        description: Where the nat rule leads, C(address:port).
        type: str
      network:
        description: The container's network.
        type: str
      bridge:
        description: The bridge's interface.
        type: str
      container:
        description: The container.
        type: str
attributes:
  check_mode:
    description: Walks the chains where there are any, asserts nothing and keeps nothing.
    support: full
  diff_mode:
    description: Shows a line for each chain.
    support: full
  idempotent:
    description: Chains that are as they were are no change.
    support: full
"""

EXAMPLES = r"""
- name: See that every port that leads into the guest has a server behind it
  reachability:
    guest: linuxkit

- name: See that one port leads where it should
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
  description: Each chain with its hops, as C(portchain trace --json) has them.
  returned: always
  type: list
  elements: dict
reached:
  description: The chains that are whole, in a line each.
  returned: always
  type: list
  elements: str
  sample: ["tcp :8080 → 0.0.0.0:8080 → 172.17.0.2:8080 → bridge → nginx"]
broken:
  description: What is broken or not as expected, each with the way to there and what to do.
  returned: always
  type: list
  elements: str
"""

from dataclasses import asdict  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain.chain.assertion import Wanted, assert_chains  # noqa: E402
from ansible.module_utils.portchain.chain.query import Query  # noqa: E402
from ansible.module_utils.portchain.chain.read_guest import EvidenceError  # noqa: E402
from ansible.module_utils.portchain.chain.summary import EXPECTED, failure, line, snapshot  # noqa: E402
from ansible.module_utils.portchain.daemon import STATE  # noqa: E402

_EXPECT: dict[str, Any] = {
    "port": {"type": "int", "required": True},
    "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
    **{word: {"type": "str"} for word in EXPECTED},
}
_SPEC: dict[str, Any] = {
    "guest": {"type": "str", "required": True},
    "ports": {"type": "list", "elements": "str", "default": []},
    "timeout": {"type": "float", "default": 30},
    "probe": {"type": "bool", "default": True},
    "expect": {"type": "list", "elements": "dict", "default": [], "options": _EXPECT},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=_SPEC, supports_check_mode=True)
    given = module.params
    try:
        queries = tuple(Query.parse(one) for one in given["ports"])
    except ValueError as error:
        module.fail_json(msg=f"ports: {error}")
    wanted = Wanted(queries, given["expect"], given["probe"], 0 if module.check_mode else given["timeout"])
    try:
        found = assert_chains(given["guest"], wanted)
    except EvidenceError as error:
        module.fail_json(msg=str(error))
    chains = [chain for one in found.traces for chain in one.chains]
    broken = [failure(chain) for chain in chains if chain.verdict] + found.problems
    told = {
        "broken": broken,
        "chains": [asdict(chain) for chain in chains],
        "reached": [line(chain) for chain in chains if not chain.verdict],
    }
    if broken and not module.check_mode:
        module.fail_json(msg="\n".join([f"guest {given['guest']}: not every port reaches its server", *broken]), **told)
    kept = STATE / given["guest"] / "chains.txt"
    before, after = kept.read_text("utf-8") if kept.exists() else "", snapshot(found.traces)
    if queries or (module.check_mode and broken):
        module.exit_json(changed=False, **told)
    if before != after and not module.check_mode:
        kept.write_text(after, "utf-8")
    module.exit_json(changed=before != after, diff={"before": before, "after": after}, **told)


if __name__ == "__main__":
    main()
