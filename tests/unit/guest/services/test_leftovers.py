from __future__ import annotations

from pathlib import Path

from portchain.guest.services.docker.leftovers import container_processes


def test_the_processes_of_containers_are_found_whatever_the_cgroups(tmp_path: Path) -> None:
    container = "6ed3e8b23aacc7b0f6e7c5911deaa1a3356f44c102866d393c37d303c81db7b2"
    for pid, cgroups in {
        1: "0::/\n",
        20: f"8:pids:/docker/{container}\n0::/docker/{container}\n",
        21: f"0::/docker/{container}/system.slice\n",
        30: "8:pids:/services/docker\n0::/services/docker\n",
    }.items():
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cgroup").write_text(cgroups)
    (tmp_path / "40").mkdir()
    assert sorted(container_processes(tmp_path)) == [20, 21]
