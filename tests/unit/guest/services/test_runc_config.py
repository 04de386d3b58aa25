"""What containers ask of runc, put in a way that a user namespace allows."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from portchain.guest.services.docker.runc_config import MEMINFO, Bounds, adapt, adapt_process

UNLIMITED = 2**64 - 1
BOUNDS = Bounds(
    {"RLIMIT_NOFILE": 1024, "RLIMIT_CORE": UNLIMITED},
    oom_score=0,
    nodes={"/dev/null": (False, 1, 3), "/dev/fuse": (False, 10, 229), "/dev/net/tun": (False, 10, 200)},
    meminfo=True,
)
PROC = {"destination": "/proc", "type": "proc", "source": "proc"}
DEV = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}


def adapted(**linux: Any) -> dict[str, Any]:
    config: dict[str, Any] = {"mounts": [PROC, DEV], "linux": {"maskedPaths": ["/proc/kcore"], **linux}}
    adapt(config, BOUNDS)
    return config


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (("RLIMIT_NOFILE", 2048, 2048), ("RLIMIT_NOFILE", 1024, 1024)),
        (("RLIMIT_NOFILE", 512, 2048), ("RLIMIT_NOFILE", 512, 1024)),
        (("RLIMIT_NOFILE", 512, 600), ("RLIMIT_NOFILE", 512, 600)),
        (("RLIMIT_CORE", UNLIMITED, UNLIMITED), ("RLIMIT_CORE", UNLIMITED, UNLIMITED)),
    ],
)
def test_a_limit_is_no_higher_than_the_guests(asked: tuple[str, int, int], given: tuple[str, int, int]) -> None:
    process = {"rlimits": [dict(zip(("type", "soft", "hard"), asked, strict=True))]}
    adapt_process(process, BOUNDS)
    assert process["rlimits"] == [dict(zip(("type", "soft", "hard"), given, strict=True))]


@pytest.mark.parametrize(("asked", "given"), [(-500, 0), (0, 0), (300, 300)])
def test_an_oom_score_is_no_lower_than_the_guests(asked: int, given: int) -> None:
    process = {"oomScoreAdj": asked}
    adapt_process(process, BOUNDS)
    assert process == {"oomScoreAdj": given}


def test_a_domain_name_is_set_by_a_hook() -> None:
    config = adapted(sysctl={"kernel.domainname": "corp.example", "net.core.somaxconn": "9"})
    assert config["linux"]["sysctl"] == {"net.core.somaxconn": "9"}
    assert config["hooks"]["createContainer"] == [{"path": "/bin/domainname", "args": ["domainname", "corp.example"]}]


def test_a_device_of_another_name_is_mounted_and_others_are_left_to_runc() -> None:
    null = {"path": "/dev/null", "type": "c", "major": 1, "minor": 3}
    unknown = {"path": "/dev/x", "type": "b", "major": 8, "minor": 0}
    renamed = {"path": "/dev/other", "type": "c", "major": 10, "minor": 229}
    taken = {"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 229}
    config = adapted(devices=[null, unknown, renamed, taken])
    assert config["linux"]["devices"] == [null, unknown]
    assert [(m["source"], m["destination"]) for m in config["mounts"] if m["source"] == "/dev/fuse"] == [
        ("/dev/fuse", "/dev/other"),
        ("/dev/fuse", "/dev/net/tun"),
    ]


def test_a_privileged_container_has_the_nodes_that_the_guest_has() -> None:
    linux: dict[str, Any] = {"maskedPaths": [], "devices": [{"path": "/dev/fuse", "type": "c"}]}
    adapt({"process": {"capabilities": {"bounding": ["CAP_SYS_ADMIN"]}}, "linux": linux}, BOUNDS)
    assert [device["path"] for device in linux["devices"]] == ["/dev/fuse", "/dev/net/tun"]
    rule = {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rwm"}
    assert linux["resources"]["devices"] == [rule]


def test_the_guests_memory_is_shown_and_a_whole_proc_where_one_may_be_mounted() -> None:
    def added(mounts: list[dict[str, Any]], masked: list[str]) -> list[str]:
        config: dict[str, Any] = {"mounts": copy.deepcopy(mounts), "linux": {"maskedPaths": masked}}
        adapt(config, BOUNDS)
        return [mount["destination"] for mount in config["mounts"][len(mounts) :]]

    bind = {"destination": "/proc", "type": "bind", "source": "/proc"}
    assert adapted()["mounts"][2]["source"] == MEMINFO
    assert added([PROC, DEV], ["/proc/kcore"]) == ["/proc/meminfo"]
    assert added([PROC, DEV], []) == ["/proc/meminfo", "/dev/.proc"]
    assert added([PROC, {**DEV, "type": "bind"}], []) == ["/proc/meminfo"]
    assert added([bind, DEV], []) == []
    assert added([PROC, {"destination": "/proc/meminfo", "type": "bind"}], []) == []


def test_what_asks_for_nothing_stays_as_it_is() -> None:
    config: dict[str, Any] = {}
    adapt(config, BOUNDS)
    assert config == {"mounts": [], "linux": {"devices": []}}
    config = {"mounts": [PROC]}
    adapt(config, BOUNDS._replace(meminfo=False))
    assert config["mounts"] == [PROC]
