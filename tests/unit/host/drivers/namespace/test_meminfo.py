"""The memory that a guest is shown, and the files in which it is."""

from __future__ import annotations

from pathlib import Path

from portchain.host.drivers.namespace import meminfo
from portchain.host.drivers.namespace.shown_files import ShownFiles
from portchain.linux.control_groups import Memory

HOST = """\
MemTotal:       24683656 kB
MemFree:        18909336 kB
MemAvailable:   22038408 kB
Buffers:          123456 kB
Cached:          5000000 kB
SwapTotal:       1000000 kB
SReclaimable:      70000 kB
HugePages_Total:       3
Hugepagesize:       2048 kB
DirectMap4k:      100000 kB
"""
GIB = 1 << 30


def kilobytes(text: str) -> dict[str, int]:
    return {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()}


def test_a_guest_is_shown_its_own_memory() -> None:
    stat = {"file": 2 * GIB, "active_file": GIB, "inactive_file": GIB, "slab_reclaimable": 1024}
    shown = meminfo.for_guest(HOST, Memory(4 * GIB, 3 * GIB, stat))
    assert kilobytes(shown) == {
        "MemTotal": 4 << 20,
        "MemFree": 1 << 20,
        "MemAvailable": (3 << 20) + 1,
        "Buffers": 0,
        "Cached": 2 << 20,
        "SwapTotal": 1000000,
        "SReclaimable": 1,
        "HugePages_Total": 3,
        "Hugepagesize": 2048,
        "DirectMap4k": 0,
    }
    assert [len(line) for line in shown.splitlines()] == [len(line) for line in HOST.splitlines()]


def test_a_guest_has_no_more_than_its_host() -> None:
    shown = kilobytes(meminfo.for_guest(HOST, Memory(1 << 60, 0, {})))
    assert (shown["MemTotal"], shown["MemAvailable"]) == (24683656, 22038408)
    assert kilobytes(meminfo.for_guest(HOST, Memory(GIB, 2 * GIB, {})))["MemFree"] == 0


def test_without_a_limit_the_memory_is_the_hosts() -> None:
    assert meminfo.for_guest(HOST, None) == HOST


def test_a_shown_file_stays_the_same_and_is_never_empty(tmp_path: Path) -> None:
    texts = {"a": "long enough\n", "b": "b\n"}
    shown = ShownFiles(tmp_path / "shown", lambda: texts)
    shown.make()
    with (tmp_path / "shown/a").open() as file:
        assert file.read() == "long enough\n"
        texts["a"] = "short\n"
        shown.update()
        file.seek(0)
        assert file.read() == "short\n"
