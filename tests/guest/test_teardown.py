"""Up, down, and nothing left: a guest of the test's own, from the real playbooks."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portchain.host import guests

from .plays import play
from .traces import traces

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="a guest is booted by root"),
    pytest.mark.usefixtures("images"),
]


@pytest.fixture(scope="module")
def before() -> Iterator[set[str]]:
    """The machine's traces before the tests; whatever happens, the guest is taken down after them."""
    found = traces()
    yield found
    play("playbooks/teardown.yml")


@pytest.fixture(scope="module")
def up(before: set[str]) -> None:
    """A guest that is up, for those tests that leave it up."""
    play("site.yml")


def left_over(before: set[str]) -> list[str]:
    """What is there that was not; the kernel may take a moment to let go."""
    for _ in range(50):
        left = sorted(traces() - before)
        if not left:
            return []
        time.sleep(0.1)
    return left


def test_a_dry_run_on_a_clean_machine_works_and_changes_nothing(before: set[str]) -> None:
    said = play("site.yml", "--check", "--diff")
    assert "state: running" in said
    assert "127.0.0.1:18099" in said
    assert "shares: /srv" in said
    assert left_over(before) == []


@pytest.mark.usefixtures("up")
def test_power_off_from_inside_ends_the_guest_and_it_can_be_started_again() -> None:
    subprocess.run(["ssh", "-F", "/run/portchain/trace/ssh_config", "trace", "poweroff"], timeout=30, check=False)
    end = time.monotonic() + 30
    while guests.status("trace").state != "stopped":
        assert time.monotonic() < end, guests.status("trace")
        time.sleep(0.1)
    time.sleep(2)
    assert guests.status("trace").state == "stopped"
    assert "changed=1 " in play("site.yml").splitlines()[-2]
    assert guests.status("trace").state == "running"


def mounts_of(pid: int) -> str:
    return Path(f"/proc/{pid}/mountinfo").read_text()


@pytest.mark.usefixtures("up")
def test_after_a_teardown_nothing_is_left(before: set[str]) -> None:
    made = traces() - before
    for kind in ("process", "namespace", "loop", "cgroup", "file", "reserved"):
        assert any(line.startswith(kind) for line in made), f"no {kind} is seen while the guest runs"
    assert not any(line.startswith(("link", "rule", "mount")) for line in made), made
    assert " /srv rw,nosuid,nodev" in mounts_of(guests.status("trace").pid or 0)
    assert "changed=0" in play("site.yml").splitlines()[-2]
    play("playbooks/teardown.yml")
    assert left_over(before) == []
    assert "changed=0" in play("playbooks/teardown.yml").splitlines()[-2]


def keepers() -> list[int]:
    """The host's processes that keep the guest: runsv, the supervisor, the forwarder."""
    words = (
        b"runsv\0/run/portchain/trace/",
        b"portchain.host.drivers.namespace.supervisor\0/var/lib/portchain/trace/",
        b"--guest=trace\0",
    )
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(word in (path / "cmdline").read_bytes() for word in words):
                found.append(int(path.name))
    return found


def test_a_teardown_after_a_crash_leaves_nothing_either(before: set[str]) -> None:
    play("site.yml")
    crashed = keepers()
    assert len(crashed) >= 4
    for pid in crashed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    play("playbooks/teardown.yml")
    assert left_over(before) == []
