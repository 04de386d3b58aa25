from __future__ import annotations

import time
from pathlib import Path

import pytest

from portchain.host.drivers.namespace.sidecars import Sidecars

BRIEF = ["/bin/sh", "-c", 'echo once >>"$0"; exit 3']
LONG = ["/bin/sh", "-c", 'echo once >>"$0"; exec sleep 60']


def starts(file: Path, wanted: int) -> int:
    """How often the program was started, once it was as often as wanted or a second has passed."""
    end = time.monotonic() + 1
    while (count := len(file.read_text().splitlines()) if file.exists() else 0) < wanted and time.monotonic() < end:
        time.sleep(0.01)
    return count


def test_a_program_that_ended_is_started_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    running = Sidecars("g", restart_seconds=0.0)
    file = tmp_path / "starts"
    process = running.start("server", [*LONG, str(file)])
    assert starts(file, 1) == 1
    running.restart_ended()
    process.kill()
    process.wait()
    running.restart_ended()
    assert starts(file, 2) == 2
    assert "guest g: server ended with status -9, started again" in capfd.readouterr().err
    running.end("server")


def test_a_program_that_fails_is_not_started_at_once_again(tmp_path: Path) -> None:
    running = Sidecars("g", restart_seconds=3600.0)
    file = tmp_path / "starts"
    assert running.start("failing", [*BRIEF, str(file)]).wait(5) == 3
    running.restart_ended()
    running.stop()
    assert starts(file, 1) == 1
