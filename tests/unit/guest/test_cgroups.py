from __future__ import annotations

from pathlib import Path

import pytest

from portchain.guest.cgroups import Hierarchy, Limits, hierarchies, memory_in_use, remove_tree

HYBRID_MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
HYBRID_OWN = "4:cpu,cpuacct:/user\n3:memory:/user/session\n2:name=systemd:/\n0::/\n"


def test_a_hybrid_host_has_each_v1_hierarchy_and_cgroup2() -> None:
    found = {h.mountpoint.name: h for h in hierarchies(HYBRID_MOUNTS, HYBRID_OWN)}
    assert found.keys() == {"cpu,cpuacct", "memory", "systemd", "unified"}
    assert found["memory"].group("portchain-a") == Path("/sys/fs/cgroup/memory/user/session/portchain-a")
    assert found["cpu,cpuacct"].options == "cpu,cpuacct"
    assert found["systemd"].options == "none,name=systemd"
    assert found["unified"].unified


def test_a_unified_host_has_one() -> None:
    mounts = "30 23 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
    (found,) = hierarchies(mounts, "0::/system.slice/portchain.service\n")
    assert found == Hierarchy(Path("/sys/fs/cgroup"), (), True, "/system.slice/portchain.service")


def test_limits_are_written_as_each_version_wants_them() -> None:
    limits = Limits(memory=1 << 30, cpus=1.5, pids=100)
    unified = limits.files(Hierarchy(Path("/c"), (), True, "/"))
    assert unified == {"memory.max": str(1 << 30), "cpu.max": "150000 100000", "pids.max": "100"}
    memory = limits.files(Hierarchy(Path("/c"), ("memory",), False, "/"))
    assert memory["memory.limit_in_bytes"] == str(1 << 30)
    assert limits.files(Hierarchy(Path("/c"), ("freezer",), False, "/")) == {}


def test_memory_is_read_where_a_controller_has_it(tmp_path: Path) -> None:
    (tmp_path / "memory.current").write_text("4096\n")
    (tmp_path / "memory.stat").write_text("anon 1024\ninactive_file 1000\n")
    assert memory_in_use([tmp_path / "none", tmp_path]) == 3096
    assert memory_in_use([]) is None


def test_a_tree_of_empty_groups_is_removed_and_a_busy_one_reported(tmp_path: Path) -> None:
    (tmp_path / "guest/docker/container").mkdir(parents=True)
    remove_tree(tmp_path / "guest", 1.0)
    assert not (tmp_path / "guest").exists()
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy/cgroup.procs").write_text("1")
    with pytest.raises(TimeoutError, match="still has processes"):
        remove_tree(tmp_path / "busy", 0.05)
