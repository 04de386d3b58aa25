"""A daemon kept by runit: restarted when it dies, left alone when it has finished, gone when it is to go."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portchain import daemon
from portchain.daemon import Daemon, DaemonError

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
    if daemon.under_systemd() or not shutil.which("runsv"):
        pytest.skip("needs runit, and no systemd")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Daemon]]:
    """Make definitions of one daemon; it ends with the test."""
    monkeypatch.setattr(daemon, "RUN", tmp_path / "run")
    monkeypatch.setattr(daemon, "LOGS", tmp_path / "log")

    def make(program: str = SERVE, version: str = "1") -> Daemon:
        argv = ("/usr/bin/python3", "-c", program, str(tmp_path / version))
        return Daemon("example", "test", argv, {}, version)

    yield make
    daemon.ensure_absent(make())


def eventually(check: Callable[[], bool], what: str) -> None:
    """Wait for it, 5 s at most."""
    end = time.monotonic() + 5
    while not check():
        assert time.monotonic() < end, f"waited 5 s for {what}"
        time.sleep(0.02)


def test_a_daemon_is_started_once_and_restarted_when_it_is_another(kept: Callable[..., Daemon], tmp_path: Path) -> None:
    one, other = kept(), kept(version="2")
    assert daemon.ensure_started(one)
    daemon.wait_ready(one, tmp_path / "1", 5)
    first = daemon.pid(one)
    assert not daemon.ensure_started(one)
    assert daemon.pid(one) == first
    assert daemon.differs(other)
    assert daemon.ensure_started(other)
    daemon.wait_ready(other, tmp_path / "2", 5)
    assert daemon.pid(other) != first


def test_a_killed_daemon_returns_and_a_finished_one_does_not(kept: Callable[..., Daemon], tmp_path: Path) -> None:
    one = kept(SERVE.replace("listener.bind(", "import os; os.path.exists(sys.argv[1]) or listener.bind("))
    daemon.ensure_started(one)
    daemon.wait_ready(one, tmp_path / "1", 5)
    first = daemon.pid(one)
    assert first
    os.kill(first, signal.SIGKILL)
    (tmp_path / "1").unlink()
    eventually(lambda: daemon.pid(one) not in (None, first), "the daemon to return")
    daemon.wait_ready(one, tmp_path / "1", 5)
    os.kill(daemon.pid(one) or 0, signal.SIGUSR1)
    eventually(lambda: daemon.pid(one) is None, "the daemon to end")
    time.sleep(1.2)
    assert daemon.pid(one) is None
    assert daemon.ensure_absent(one)
    assert not daemon.ensure_absent(one)
    assert not one.folder.exists()


def test_a_daemon_that_cannot_start_says_so_with_its_log(kept: Callable[..., Daemon], tmp_path: Path) -> None:
    broken = kept("raise SystemExit('the reason')")
    daemon.ensure_started(broken)
    with pytest.raises(DaemonError, match=r"(?s)did not answer on .* within 1.*current.*the reason"):
        daemon.wait_ready(broken, tmp_path / "never", 1)
