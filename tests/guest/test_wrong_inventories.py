"""What a newcomer's inventory may have wrong is told at once, by name, before anything is changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from .plays import INVENTORY, refused
from .traces import written

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the preflight looks at the machine as root")

FORWARD = {"listen": "127.0.0.1:18098", "target": "127.0.0.1:80"}
GUESTS: dict[str, dict[str, Any]] = {
    "first": {
        "guest_uid_base": 8000000,
        "guest_memory": "{{ nope }}",
        "guest_shares": ["/srv", "{{ nope }}/data"],
        "guest_allowlist": "{{ [}}",
        "guest_hostname": "bad name!",
        "guest_driver": "qemu",
        "guest_engine": "debian-11",
        "guest_image_suites": {"services": "stable", "docker": "sid"},
        "guest_memroy": "2g",
        "host_forwarder_forwards": [FORWARD, {"listen": ":80", "target": "127.0.0.1:80"}],
        "workloads_containers": [
            {"name": "web", "image": "portchain/nope", "volumes": ["/opt:/x"], "networks": [{"name": "nope"}]},
        ],
    },
    "second guest!": {"guest_uid_base": 8500000, "host_forwarder_forwards": [FORWARD]},
}
PROBLEMS = [
    "first: guest_memory: cannot be templated: 'nope' is undefined",
    "first: guest_shares: cannot be templated: 'nope' is undefined",
    "first: guest_allowlist: cannot be templated: Syntax error in template",
    "first: no variable guest_memroy; did you mean guest_memory?",
    "first: guest_hostname: 'bad name!' must be a host name",
    "first: guest_driver: 'qemu' must be namespace",
    "first: guest_engine: 'debian-11' must be one of debian-12, debian-13, debian-forky",
    "first: guest_image_suites: services: 'stable' must be a Debian suite",
    "first: guest_image_suites: docker: its suite follows from guest_engine",
    "first: host_forwarder_forwards[1]: Ports are not available: the policy of the host refuses TCP :80",
    "first: workloads_containers web: volumes[0]: /opt is not shared from the host",
    "first: workloads_containers web: image: portchain/nope is not built",
    "first: workloads_containers web: networks: there is no network nope",
    "second guest!: portchain_guest: 'second guest!' must be a guest's name",
    "second guest!: guest_uid_base 8500000 (+1000000) overlaps guest first's",
    "second guest!: host_forwarder_forwards[0]: tcp:127.0.0.1:18098 is taken by guest first",
]


def inventory(folder: Path, guests: dict[str, dict[str, Any]]) -> Path:
    """An inventory of these guests and nothing else; the project's group_vars are beside it."""
    shutil.copytree(INVENTORY / "group_vars", folder / "group_vars")
    (folder / "hosts.yml").write_text(yaml.safe_dump({"guests": {"hosts": guests}}))
    return folder


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_changed(tmp_path: Path) -> None:
    before = written()
    said = refused("site.yml", "--check", inventory=inventory(tmp_path / "inventory", GUESTS))
    assert [problem for problem in PROBLEMS if f"- guest {problem}" not in said] == []
    assert "Could not check localhost" not in said
    assert written() == before


@pytest.mark.parametrize("machine", ["{{ nope }}", "server-1"])
def test_a_machine_that_is_none_is_told(tmp_path: Path, machine: str) -> None:
    guests = {"first": {"portchain_machine": machine}}
    said = refused("site.yml", inventory=inventory(tmp_path / "inventory", guests))
    assert "guest first: portchain_guest must be its name, portchain_owner a user, and portchain_machine a host" in said
