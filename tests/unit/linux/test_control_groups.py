from __future__ import annotations

import sys
from pathlib import Path

from portchain.linux.control_groups import (
    Hierarchy,
    Limits,
    Memory,
    memory_in_use,
    parse_hierarchies,
    read_memory,
)

HYBRID_MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
HYBRID_OWN = "4:cpu,cpuacct:/user\n3:memory:/user/session\n2:name=systemd:/\n0::/\n"


def test_a_hybrid_host_has_each_v1_hierarchy_and_cgroup2() -> None:
    found = {h.mountpoint.name: h for h in parse_hierarchies(HYBRID_MOUNTS, HYBRID_OWN)}
    assert found.keys() == {"cpu,cpuacct", "memory", "systemd", "unified"}
    assert found["memory"].group("portchain-a") == Path("/sys/fs/cgroup/memory/user/session/portchain-a")
    assert found["cpu,cpuacct"].options == "cpu,cpuacct"
    assert found["systemd"].options == "none,name=systemd"
    assert found["unified"].unified


def test_a_unified_host_has_one() -> None:
    mounts = "30 23 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
    (found,) = parse_hierarchies(mounts, "0::/system.slice/portchain.service\n")
    assert found == Hierarchy(Path("/sys/fs/cgroup"), (), True, "/system.slice/portchain.service")


def test_limits_are_written_as_each_version_wants_them() -> None:
    limits = Limits(memory=1 << 30, cpus=1.5, pids=100)
    unified = limits.files(Hierarchy(Path("/c"), (), True, "/"))
    assert unified == {"memory.max": str(1 << 30), "cpu.max": "150000 100000", "pids.max": "100"}
    of_memory = limits.files(Hierarchy(Path("/c"), ("memory",), False, "/"))
    assert of_memory["memory.limit_in_bytes"] == str(1 << 30)
    assert limits.files(Hierarchy(Path("/c"), ("freezer",), False, "/")) == {}


def test_memory_is_read_where_a_controller_has_it(tmp_path: Path) -> None:
    one, two = tmp_path / "v1", tmp_path / "v2"
    for folder, files in {
        one: {
            "memory.limit_in_bytes": "8192",
            "memory.usage_in_bytes": "4096",
            "memory.stat": "cache 1\ninactive_file 2\ntotal_cache 2048\ntotal_inactive_file 1000",
        },
        two: {"memory.max": "max", "memory.current": "4096", "memory.stat": "file 2048\ninactive_file 1000"},
    }.items():
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(f"{text}\n")
        assert memory_in_use([tmp_path / "none", folder]) == 3096
    stat = {"file": 2048, "inactive_file": 1000}
    assert read_memory([one]) == Memory(8192, 4096, stat)
    assert read_memory([two]) == Memory(sys.maxsize, 4096, stat)
    assert memory_in_use([]) is read_memory([]) is None
