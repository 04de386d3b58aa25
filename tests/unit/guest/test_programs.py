from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from portchain.guest.services.docker import logwrite
from portchain.guest.services.trim_after_delete import trim_after_delete
from portchain.host.drivers.namespace.launcher import Ending
from portchain.linux.rotating_log import RotatingLog, StampedLines


@pytest.mark.parametrize(
    ("number", "ending"),
    [(signal.SIGINT, Ending.POWER_OFF), (signal.SIGHUP, Ending.REBOOT), (signal.SIGKILL, Ending.KILLED)],
)
def test_how_the_guest_ended_is_told_by_the_signal(number: int, ending: Ending) -> None:
    assert Ending.of_init(number) is ending
    assert Ending.of_holder(ending << 8) is ending


def test_a_holder_that_failed_means_killed() -> None:
    assert Ending.of_holder(1 << 8) is Ending.KILLED
    assert Ending.of_holder(signal.SIGKILL) is Ending.KILLED


def test_logwrite_passes_the_commands_status_on(tmp_path: Path) -> None:
    log = StampedLines(RotatingLog(tmp_path / "a.log"))
    assert logwrite.run(log, [sys.executable, "-c", "print('seen'); raise SystemExit(7)"]) == 7
    assert (tmp_path / "a.log").read_text().endswith("Z seen\n")


def test_many_deletes_at_once_are_one_trim() -> None:
    ours, theirs = socket.socketpair()
    asked: list[float] = []

    def watch() -> None:
        for _ in trim_after_delete.settled_deletes(ours, settle=0.2):
            asked.append(time.monotonic())

    watcher = threading.Thread(target=watch)
    watcher.start()
    theirs.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n")
    for _ in range(20):
        theirs.sendall(b'{"Type":"image","Action":"delete"}\n')
    end = time.monotonic() + 5
    while not asked and time.monotonic() < end:
        watcher.join(0.02)
    watcher.join(0.05)
    theirs.close()
    watcher.join(2)
    assert len(asked) == 1
