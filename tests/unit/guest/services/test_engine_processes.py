from __future__ import annotations

from pathlib import Path

import pytest

from portchain.guest.services.docker.engine_processes import has_shut_down, read_reason

OLD = "2026-11-28T02:13:48Z failed to start daemon: of an earlier start\n"
FATAL = "2026-11-28T02:13:49Z failed to start daemon: invalid CIDR address: 300.1.1.1/33\n"
LATE = '2026-11-28T02:13:49Z time="…" level=error msg="Failed to get event" error="transport is closing"\n'


@pytest.mark.parametrize(
    ("added", "reason"),
    [
        (FATAL, "failed to start daemon: invalid CIDR address: 300.1.1.1/33"),
        (FATAL + LATE, "failed to start daemon: invalid CIDR address: 300.1.1.1/33"),
        (LATE + "\n", LATE.partition(" ")[2].strip()),
        ("", ""),
    ],
)
def test_the_fatal_line_is_the_reason_whatever_follows_it(tmp_path: Path, added: str, reason: str) -> None:
    log = tmp_path / "dockerd.log"
    log.write_text(OLD + added)
    assert read_reason(log, len(OLD.encode())) == reason


def test_a_log_that_began_anew_is_read_whole_and_a_missing_one_has_no_reason(tmp_path: Path) -> None:
    log = tmp_path / "dockerd.log"
    log.write_text(FATAL)
    assert read_reason(log, 10_000).startswith("failed to start daemon")
    assert read_reason(tmp_path / "none.log", 0) == ""


def test_dockerd_has_shut_down_once_it_says_so_after_it_was_told_to(tmp_path: Path) -> None:
    log = tmp_path / "dockerd.log"
    log.write_text(said := '2026-11-28T02:13:49Z level=info msg="Daemon shutdown complete"\n')
    assert not has_shut_down(log, len(said))
    log.write_text(said + said)
    assert has_shut_down(log, len(said))
