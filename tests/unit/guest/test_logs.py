from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from portchain.guest.logs.collector import Collector, kept_until_read, make_fifo
from portchain.guest.logs.reader import LogTail, find_logs, merge_lines, select_logs
from portchain.linux.rotating_log import RotatingLog, StampedLines, files, stamp


def test_a_log_is_bounded_and_its_newest_line_is_last(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log", limit=100, kept=2)
    for number in range(100):
        log.write(f"line {number}\n".encode())
    assert sorted(tmp_path.iterdir()) == files(tmp_path / "a.log", 2)
    assert (tmp_path / "a.log").read_text().endswith("line 99\n")
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())


def test_each_line_has_the_time_of_its_end(tmp_path: Path) -> None:
    times = iter([0.0, 1.5, 2.0])
    lines = StampedLines(RotatingLog(tmp_path / "a.log"), lambda: next(times))
    for data in (b"one\nt", b"w", b"o\n\n", b"half"):
        lines.feed(data)
    lines.close()
    assert (tmp_path / "a.log").read_text() == "".join(
        f"1970-01-01T00:00:0{line}\n" for line in ("0.000Z one", "1.500Z two", "1.500Z ", "2.000Z half")
    )


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    lines = StampedLines(RotatingLog(tmp_path / "a.log"))
    lines.feed(b"x" * 20000)
    assert (tmp_path / "a.log").stat().st_size > 20000


def test_times_are_sorted_as_they_are_read() -> None:
    assert stamp(1_000_000_000) == "2001-09-09T01:46:40.000Z"


def test_what_is_printed_while_nobody_collects_waits(tmp_path: Path) -> None:
    fifos, logs = tmp_path / "fifos", tmp_path / "logs"
    fifos.mkdir()
    service = os.open(make_fifo(fifos, "one"), os.O_RDWR)
    os.write(service, b"early\n")
    collector = Collector(["one", "two"], fifos, logs)
    collector.collect(0)
    os.write(service, b"late\n")
    collector.collect(0)
    assert [line.split()[1] for line in (logs / "one.log").read_text().splitlines()] == ["early", "late"]
    assert (logs / "two.log").read_text() == ""


def test_what_ended_before_the_collector_started_is_in_its_log(tmp_path: Path) -> None:
    fifos, logs = tmp_path / "fifos", tmp_path / "logs"
    fifos.mkdir()
    start = threading.Event()

    def collect() -> None:
        start.wait(5)
        collector = Collector(["once"], fifos, logs)
        collector.collect(5)

    collecting = threading.Thread(target=collect)
    collecting.start()
    with kept_until_read(fifos, ["once"], 5):
        once = os.open(make_fifo(fifos, "once"), os.O_RDWR)
        os.write(once, b"ended\n")
        os.close(once)
        start.set()
    collecting.join()
    assert (logs / "once.log").read_text().endswith("Z ended\n")


def test_a_collector_that_never_starts_is_waited_for_no_longer_than_its_deadline(tmp_path: Path) -> None:
    began = time.monotonic()
    with kept_until_read(tmp_path, ["one", "two"], 0.1):
        once = os.open(make_fifo(tmp_path, "one"), os.O_RDWR)
        os.write(once, b"lost\n")
    os.close(once)
    assert 0.1 <= time.monotonic() - began < 2


def test_every_line_is_followed_once_across_rotations(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log", limit=60, kept=3)
    tail = LogTail(tmp_path / "a.log")
    seen = []
    for number in range(200):
        log.write(f"line {number}\n".encode())
        if number % 7 == 0:
            seen += tail.lines()
    assert seen + tail.lines() == [f"line {number}" for number in range(200)]


def test_a_line_is_not_read_before_its_end(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log")
    tail = LogTail(tmp_path / "a.log")
    log.write(b"t one\nt tw")
    assert tail.lines() == ["t one"]
    log.write(b"o\n")
    assert tail.lines() == ["t two"]


def test_logs_are_merged_by_time_and_cut_service_by_service(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("1 a1\n3 a3\n5 a5\n")
    (tmp_path / "b.log").write_text("2 b2\n4 b4\n")
    tails = {name: LogTail(tmp_path / f"{name}.log") for name in "ab"}
    assert [text for _, _, text in merge_lines(tails, 2)] == ["b2", "a3", "b4", "a5"]
    assert merge_lines(tails) == []
    assert merge_lines({"a": LogTail(tmp_path / "a.log")}, 0) == []


def test_a_service_brings_the_logs_of_its_programs(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    for name in ("docker.log", "socks.log", "docker/dockerd.log", "docker/dockerd.log.0"):
        (tmp_path / name).touch()
    logs = find_logs(tmp_path, ["docker", "socks"])
    assert list(select_logs(logs, ["docker"])) == ["docker", "docker/dockerd"]
    assert list(select_logs(logs, [])) == ["docker", "socks", "docker/dockerd"]
    with pytest.raises(LookupError, match=r"no service 'dock'; there are: docker, docker/dockerd, socks"):
        select_logs(logs, ["dock"])
