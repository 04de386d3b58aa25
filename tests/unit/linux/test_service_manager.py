"""A host daemon's definition."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from portchain.linux import memory_limit, service_manager
from portchain.linux.control_groups import Hierarchy
from portchain.linux.service_manager import Daemon

EXAMPLE = Daemon("forwarder", "my-guest", ("/bin/echo", "two words", "100%"), {"A": 'quote " and $HOME'}, "v1")


def test_a_unit_escapes_what_systemd_would_replace() -> None:
    lines = service_manager.unit_text(EXAMPLE).splitlines()
    assert r'Environment="A=quote \" and $HOME"' in lines
    assert 'ExecStart="/bin/echo" "two words" "100%%"' in lines


def test_a_unit_that_systemd_understands(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd here")
    if os.geteuid() and not Path("/run/systemd").exists():
        pytest.skip("systemd-analyze makes /run/systemd as root")
    unit = tmp_path / EXAMPLE.unit
    unit.write_text(service_manager.unit_text(EXAMPLE))
    checked = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert checked.stderr == ""
    assert checked.returncode == 0


def test_the_runit_script_runs_what_was_asked_for() -> None:
    script = service_manager.runit_files(EXAMPLE)["run"].replace("exec /bin/echo", 'exec /usr/bin/printf "%s\\n" "$A"')
    shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines() == ['quote " and $HOME', "two words", "100%"]


def test_a_unit_has_the_daemon_s_memory_limit() -> None:
    limited = replace(EXAMPLE, memory=2**30)
    assert {"MemoryMax=1073741824", "MemorySwapMax=0"} <= set(service_manager.unit_text(limited).splitlines())
    assert "Memory" not in service_manager.unit_text(EXAMPLE)


def test_the_runit_script_limits_the_daemon_s_memory() -> None:
    script = service_manager.runit_files(replace(EXAMPLE, memory=2**30))["run"]
    limited = "exec /usr/bin/python3 -m portchain.linux.memory_limit portchain-my-guest-forwarder 1073741824 /bin/echo "
    assert limited in script


@pytest.mark.parametrize("unified", [False, True])
def test_a_limited_program_is_moved_into_a_group_with_the_limit(tmp_path: Path, unified: bool) -> None:
    parent = tmp_path / "own"
    parent.mkdir()
    hierarchy = Hierarchy(tmp_path, () if unified else ("memory",), unified, "/own")
    group = memory_limit.join("portchain-a-b", 1000, [Hierarchy(tmp_path / "none", ("cpu",), False, "/"), hierarchy])
    assert group == parent / "portchain-a-b"
    assert (group / ("memory.max" if unified else "memory.limit_in_bytes")).read_text() == "1000"
    assert (group / "cgroup.procs").read_text() == "0"
    assert memory_limit.join("portchain-a-b", 1000, []) is None


def test_guests_are_known_by_their_daemons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_manager, "RUN", tmp_path / "run")
    (tmp_path / "run" / "a" / "sv" / "guest").mkdir(parents=True)
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "portchain-b-c-forwarder.service").touch()
    assert service_manager.guests(tmp_path / "units") == {"a", "b-c"}


def test_leftovers_go_and_so_do_empty_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(service_manager, "RUN", run)
    kept, gone = run / "kept", run / "gone" / "deep"
    kept.mkdir(parents=True)
    gone.mkdir(parents=True)
    (kept / "other").touch()
    (kept / "one").touch()
    assert service_manager.remove_leftovers([kept / "one", gone / "never-there"])
    assert not service_manager.remove_leftovers([kept / "one"])
    assert [p.name for p in run.iterdir()] == ["kept"]
