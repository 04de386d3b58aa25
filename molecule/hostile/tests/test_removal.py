"""A guest that did its worst can be stopped, started and removed, and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portchain.host import guests
from portchain.host.guest_spec import GuestSpec
from portchain.linux import service_manager
from support.waiting import eventually

NAME = "worst"
UID_BASE = 15_000_000
SCRIPT = Path(__file__).with_name("worst.py")

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="a guest is booted by root"), pytest.mark.timeout(240)]


@pytest.fixture
def spec() -> Iterator[GuestSpec]:
    """A guest like the one that attacks, small and without an uplink; it is removed after the test."""
    like = GuestSpec.load(guests.spec_file("hostile"))
    folders = {"disk": f"/var/lib/portchain/{NAME}/data.img", "run_dir": f"/run/portchain/{NAME}"}
    small = {"uid_base": UID_BASE, "memory": 1 << 30, "disk_size": 128 << 20, "uplink": False}
    yield replace(like, name=NAME, hostname=NAME, **folders, **small)  # type: ignore[arg-type]
    guests.remove(NAME)


def as_guest_root(*command: str, text: str = "") -> str:
    """Run a command as root of the guest, in its namespaces and control groups."""

    def join() -> None:
        for group in groups:
            Path(group, "cgroup.procs").write_text("0")

    groups = json.loads((service_manager.RUN / NAME / "state.json").read_text())["cgroups"]
    pid = str(guests.status(NAME).pid)
    inside = ["nsenter", "--target", pid, "--all", "--", *command]
    done = subprocess.run(inside, input=text, capture_output=True, text=True, timeout=60, check=False, preexec_fn=join)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def do_the_worst() -> None:
    assert as_guest_root("python3", "-", text=SCRIPT.read_text()).endswith("done\n")


def left() -> list[str]:
    """What is there of the guest."""
    found = [f"process {path.name}" for path in Path("/proc").glob("[0-9]*") if uid_of(path) in range_of_ids()]
    found += [f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if NAME in line]
    devices = subprocess.run(["losetup", "--all"], capture_output=True, text=True, timeout=20, check=True).stdout
    found += [f"loop {line}" for line in devices.splitlines() if f"/{NAME}/" in line]
    hierarchies = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
    found += [f"cgroup {path}" for top in hierarchies for path in top.glob(f"**/portchain-{NAME}*")]
    places = [place / NAME for place in (service_manager.RUN, service_manager.STATE, service_manager.LOGS)]
    found += [f"file {path}" for path in places if path.exists()]
    return found


def uid_of(process: Path) -> int:
    try:
        return process.stat().st_uid
    except OSError:
        return -1


def range_of_ids() -> range:
    return range(UID_BASE, UID_BASE + 1_000_000)


def test_a_guest_that_did_its_worst_can_be_stopped_and_started_and_leaves_nothing(spec: GuestSpec) -> None:
    assert guests.start(spec)
    do_the_worst()
    assert guests.stop(NAME)
    assert guests.status(NAME).state == "stopped"
    eventually(lambda: not [line for line in left() if not line.startswith("file")], "only its files are left")
    assert guests.start(spec)
    assert as_guest_root("id", "-u") == "0\n"
    assert guests.remove(NAME)
    eventually(lambda: not left(), "nothing is left")


def test_a_guest_that_did_its_worst_can_be_removed_after_its_supervisor_was_killed(spec: GuestSpec) -> None:
    guests.start(spec)
    do_the_worst()
    supervisor = guests.status(NAME).supervisor
    assert supervisor
    runsv = int(Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()[1])
    for pid in (runsv, supervisor):
        os.kill(pid, signal.SIGKILL)
    assert guests.remove(NAME)
    eventually(lambda: not left(), "nothing is left")
