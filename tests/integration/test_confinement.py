"""A process that confines itself, in each of its threads: what it may not do, it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from portchain.host.relay.confinement import FORBIDDEN

UID = 65_432
SOURCE = str(Path(__file__).parents[2] / "src")
# Confines itself, and then tries each system call by its number, with arguments that are wrong if it were allowed.
SCRIPT = """
import ctypes, errno, json, os, platform, sys, threading

from portchain.host.relay.confinement import FORBIDDEN, confine
from portchain.linux import seccomp

libc = ctypes.CDLL(None, use_errno=True)
numbers = {name: number for name, number in seccomp._NUMBERS[platform.machine()].items() if name in FORBIDDEN}
found = {}

def tried():
    errors = {}
    for name, number in numbers.items():
        ctypes.set_errno(0)
        errors[name] = errno.errorcode[ctypes.get_errno()] if libc.syscall(number, -1, -1, -1, -1, -1, -1) else "done"
    return errors

def tell(name, status):
    found[name] = {"errors": tried(), "status": os.pread(status, 65536, 0).decode()}

def beside():
    status = os.open("/proc/thread-self/status", os.O_RDONLY)
    opened.set()
    confined.wait()
    tell("thread", status)

opened, confined = threading.Event(), threading.Event()
thread = threading.Thread(target=beside)
thread.start()
opened.wait()
status = os.open("/proc/thread-self/status", os.O_RDONLY)
confine(int(sys.argv[1]))
confined.set()
tell("main", status)
thread.join()
print(json.dumps(found))
"""


Found = dict[str, dict[str, Any]]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(scope="module")
def found() -> Found:
    """What each thread of the process found: an error for each call, and its status."""
    command = [sys.executable, "-c", SCRIPT, str(UID)]
    done = subprocess.run(command, env={"PYTHONPATH": SOURCE}, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("thread", ["main", "thread"])
def test_each_forbidden_call_fails(found: Found, thread: str) -> None:
    assert set(found[thread]["errors"].values()) == {"EPERM"}
    assert len(found[thread]["errors"]) > len(FORBIDDEN) / 2


@pytest.mark.parametrize("thread", ["main", "thread"])
def test_no_right_is_left(found: Found, thread: str) -> None:
    status = dict(line.split(":\t", 1) for line in found[thread]["status"].splitlines())
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"], status["Groups"].strip()) == ("1", "2", "")
    assert set((status["Uid"] + "\t" + status["Gid"]).split()) == {str(UID)}
