"""A daemon kept by runit: restarted when it dies, left alone when it has finished, gone when it is to go."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portchain.linux import control_groups, memory_limit, service_manager
from portchain.linux.service_manager import Daemon, DaemonError
from support.waiting import eventually

SERVE = """
import signal, socket, sys
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(0))
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
signal.pause()
"""


@pytest.fixture(autouse=True)
def runit() -> None:
    """Asked when a test starts: an earlier one may have brought it to a new machine."""
    if service_manager.under_systemd() or not shutil.which("runsv"):
        pytest.skip("needs runit, and no systemd")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Daemon]]:
    """Make definitions of one daemon; it ends with the test."""
    monkeypatch.setattr(service_manager, "RUN", tmp_path / "run")
    monkeypatch.setattr(service_manager, "LOGS", tmp_path / "log")

    def make(program: str = SERVE, version: str = "1") -> Daemon:
        argv = ("/usr/bin/python3", "-c", program, str(tmp_path / version))
        return Daemon("example", "test", argv, {}, version)

    yield make
    service_manager.ensure_absent(make())


def test_a_daemon_is_started_once_and_restarted_when_it_is_another(kept: Callable[..., Daemon], tmp_path: Path) -> None:
    one, other = kept(), kept(version="2")
    assert service_manager.ensure_started(one)
    service_manager.wait_ready(one, tmp_path / "1", 5)
    first = service_manager.pid(one)
    assert not service_manager.ensure_started(one)
    assert service_manager.pid(one) == first
    assert service_manager.differs(other)
    assert service_manager.ensure_started(other)
    service_manager.wait_ready(other, tmp_path / "2", 5)
    assert service_manager.pid(other) != first


def test_a_daemon_hears_an_interrupt_that_its_starter_ignores(kept: Callable[..., Daemon], tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        service_manager.ensure_started(kept())
    finally:
        signal.signal(signal.SIGINT, before)
    service_manager.wait_ready(kept(), tmp_path / "1", 5)
    status = Path(f"/proc/{service_manager.pid(kept())}/status").read_text()
    ignored = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:")), 16)
    assert not ignored & 1 << signal.SIGINT - 1


GREEDY = """
import os, sys
if not os.path.exists("tried"):
    open("tried", "w").close()
    taken = b"x" * (200 << 20)
    sys.exit(0)
"""


def test_a_daemon_that_takes_more_memory_than_it_may_is_killed_and_returns(
    kept: Callable[..., Daemon], tmp_path: Path
) -> None:
    if not control_groups.can_limit_memory(control_groups.own_hierarchies()):
        pytest.skip("no memory controller here")
    package = str(Path(service_manager.__file__).parents[2])
    daemon = replace(kept(GREEDY + SERVE), environment={"PYTHONPATH": package}, memory=64 << 20)
    service_manager.ensure_started(daemon)
    service_manager.wait_ready(daemon, tmp_path / "1", 10)
    group = Path((daemon.folder / memory_limit.GROUP_FILE).read_text().strip())
    assert (group / "cgroup.procs").read_text().split() == [str(service_manager.pid(daemon))]
    service_manager.ensure_absent(daemon)
    assert not group.exists()


def test_a_killed_daemon_returns_and_a_finished_one_does_not(kept: Callable[..., Daemon], tmp_path: Path) -> None:
    one = kept(SERVE.replace("listener.bind(", "import os; os.path.exists(sys.argv[1]) or listener.bind("))
    service_manager.ensure_started(one)
    service_manager.wait_ready(one, tmp_path / "1", 5)
    first = service_manager.pid(one)
    assert first
    os.kill(first, signal.SIGKILL)
    (tmp_path / "1").unlink()
    eventually(lambda: service_manager.pid(one) not in (None, first), "the daemon to return")
    service_manager.wait_ready(one, tmp_path / "1", 5)
    os.kill(service_manager.pid(one) or 0, signal.SIGUSR1)
    eventually(lambda: service_manager.pid(one) is None, "the daemon to end")
    time.sleep(1.2)
    assert service_manager.pid(one) is None
    assert service_manager.ensure_absent(one)
    assert not service_manager.ensure_absent(one)
    assert not one.folder.exists()


def test_a_daemon_that_cannot_start_says_so_with_its_log(kept: Callable[..., Daemon], tmp_path: Path) -> None:
    broken = kept("raise SystemExit('the reason')")
    service_manager.ensure_started(broken)
    with pytest.raises(DaemonError, match=r"(?s)did not answer on .* within 1.*current.*the reason"):
        service_manager.wait_ready(broken, tmp_path / "never", 1)


def test_a_daemon_whose_runsv_is_dying_can_be_removed(
    kept: Callable[..., Daemon], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = kept()
    service_manager.ensure_started(one)
    service_manager.wait_ready(one, tmp_path / "1", 5)
    daemon = service_manager.pid(one)
    assert daemon
    runsv = int(Path(f"/proc/{daemon}/stat").read_text().rpartition(")")[2].split()[1])
    for pid in (runsv, daemon):
        os.kill(pid, signal.SIGKILL)
    supervised = service_manager._supervised
    eventually(lambda: not supervised(one), "runsv to end")
    looks = iter([True])
    monkeypatch.setattr(service_manager, "_supervised", lambda daemon: next(looks, False) or supervised(daemon))
    assert service_manager.ensure_absent(one)
    assert not one.folder.exists()
