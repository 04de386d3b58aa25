"""In the guest: run what is in /containers, as LinuxKit's init does.

Usage: service start | stop
Starting runs onboot one after the other, then has containerd keep the services; stopping ends the services and runs
onshutdown.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import kernel, root_files
from .log_collector import fifo
from .places import CONTAINERS, FIFOS, NAMESPACE, STARTS, Bundle, bundles

_SOCKET = Path("/run/containerd/containerd.sock")
_SCRATCH = Path("/run/containers")
_DEADLINE = 30.0
_ONBOOT_DEADLINE = 300.0
# The engine gives its containers 10 s.
_STOP_DEADLINE = 12.0
_DEAF_DEADLINE = 0.5
_ONSHUTDOWN_DEADLINE = 5.0
# The engine takes longest to be up, so it is not kept waiting.
_FIRST = ("docker", "vpnkit-forwarder")
_AT_ONCE = 4


def _ctr(*arguments: str) -> list[str]:
    return ["ctr", "-n", NAMESPACE, *arguments]


def _log_uri(bundle: Bundle) -> str:
    return f"file://{fifo(Path(FIFOS), bundle.name)}"


def wait_for_containerd(deadline: float = _DEADLINE) -> None:
    """Wait until containerd answers; TimeoutError after ``deadline`` seconds."""
    end = time.monotonic() + deadline
    while not _SOCKET.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"guest: no {_SOCKET} after {deadline} s; see the console log")
        time.sleep(0.01)


def mount_root(bundle: Bundle, image: str) -> None:
    """Mount the root of a container: its files over its image, with a scratch layer on top."""
    scratch = _SCRATCH / bundle.kind / bundle.folder
    for layer in ("upper", "work"):
        (scratch / layer).mkdir(parents=True, exist_ok=True)
    lower = f"{bundle.path}/files:{CONTAINERS}/images/{image}"
    options = f"lowerdir={lower},upperdir={scratch}/upper,workdir={scratch}/work,userxattr"
    kernel.mount("overlay", Path(bundle.rootfs), "overlay", 0, options)


def prepare(bundle: Bundle) -> None:
    """Make what the container's runtime.json asks for, and its root."""
    runtime = bundle.runtime
    for folder in runtime["mkdir"]:
        Path(folder).mkdir(parents=True, exist_ok=True)
    for mount in runtime["mounts"]:
        command = ["mount", "-t", mount["type"], "-o", ",".join(mount["options"]) or "defaults"]
        subprocess.run([*command, mount["source"], mount["destination"]], check=True, timeout=_DEADLINE)
    mount_root(bundle, runtime["image"])


def start_logged(bundle: Bundle, command: list[str]) -> subprocess.Popen[bytes]:
    """Start ``command``, what it prints going to the container's log."""
    output = os.open(fifo(Path(FIFOS), bundle.name), os.O_RDWR)
    try:
        return subprocess.Popen(command, stdout=output, stderr=output)
    finally:
        os.close(output)


def run_in_turn(kind: str, deadline: float) -> int:
    """Run the containers of ``kind`` to completion, one after the other; returns how many failed."""
    failed = 0
    for bundle in bundles(kind):
        prepare(bundle)
        runc = start_logged(bundle, ["runc", "run", "--bundle", str(bundle.path), bundle.folder])
        try:
            outcome = f"ended with status {status}" if (status := runc.wait(deadline)) else ""
        except subprocess.TimeoutExpired:
            subprocess.run(["runc", "delete", "--force", bundle.folder], check=False, timeout=_DEADLINE)
            outcome = f"not done after {deadline:.0f} s, killed"
        if outcome:
            failed += 1
            print(f"guest: {kind} {bundle.name}: {outcome}; portchain logs {bundle.name}", file=sys.stderr, flush=True)
    return failed


def create(bundle: Bundle, *action: str) -> subprocess.Popen[bytes]:
    """Have containerd make the service's container; ``action`` says how far."""
    return start_logged(bundle, _ctr(*action, "--config", f"{bundle.path}/config.json", bundle.name))


def keep(bundle: Bundle) -> subprocess.Popen[bytes]:
    """Have containerd start the service again whenever it is not running."""
    labels = ("containerd.io/restart.status=running", f"containerd.io/restart.loguri={_log_uri(bundle)}")
    return subprocess.Popen(_ctr("container", "label", bundle.name, *labels), stdout=subprocess.DEVNULL)


def launch(services: list[Bundle]) -> int:
    """Launch ``services``, a few at once; returns how many did not start, which containerd goes on trying.

    They are not kept before they run: containerd takes one that is about to start for one that ended.
    """
    failed = 0
    for first in range(0, len(services), _AT_ONCE):
        batch = services[first : first + _AT_ONCE]
        starting = [(bundle, create(bundle, "run", "-d", "--log-uri", _log_uri(bundle))) for bundle in batch]
        for bundle, process in starting:
            if process.wait(_DEADLINE):
                failed += 1
                create(bundle, "container", "create").wait(_DEADLINE)
                print(f"guest: service {bundle.name} does not start; portchain logs {bundle.name}", file=sys.stderr)
        for labelling in [keep(bundle) for bundle in batch if bundle.runtime["restart"]]:
            labelling.wait(_DEADLINE)
    return failed


def start() -> int:
    """Start everything; returns how many containers failed."""
    for folder in (FIFOS, STARTS):
        Path(folder).mkdir(parents=True, exist_ok=True)
    root_files.make_all()
    failed = run_in_turn("onboot", _ONBOOT_DEADLINE)
    services = sorted(bundles("services"), key=lambda bundle: bundle.name not in _FIRST)
    for bundle in services:
        prepare(bundle)
    wait_for_containerd()
    return failed + launch(services)


def stop() -> int:
    """End every service, the engine with time to stop its containers, then run onshutdown."""
    for bundle in bundles("services"):
        # No label rather than one that says stopped: for that containerd would kill it.
        label = _ctr("container", "label", bundle.name, "containerd.io/restart.status=")
        subprocess.run(label, check=False, timeout=5, stdout=subprocess.DEVNULL)
    asked = time.monotonic()
    for pid in _running():
        _send(pid, signal.SIGTERM)
    while (left := _running()) and time.monotonic() - asked < _STOP_DEADLINE:
        if time.monotonic() - asked > _DEAF_DEADLINE:
            for pid in filter(_deaf, left):
                _send(pid, signal.SIGKILL)
        time.sleep(0.1)
    return len(left) + run_in_turn("onshutdown", _ONSHUTDOWN_DEADLINE)


def _running() -> list[int]:
    """The first process of each service that runs."""
    listed = subprocess.run(_ctr("task", "ls"), capture_output=True, text=True, check=False, timeout=5).stdout
    return [int(line.split()[1]) for line in listed.splitlines() if line.endswith("RUNNING")]


def _deaf(pid: int) -> bool:
    """Whether SIGTERM never reaches it: the first process of a pid namespace has no default action."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    status = dict(line.split(":\t", 1) for line in text.splitlines())
    return len(status["NSpid"].split()) > 1 and not int(status["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def main() -> int:
    """Do what the only argument says."""
    actions = {"start": start, "stop": stop}
    if len(sys.argv) != 2 or sys.argv[1] not in actions:
        print(__doc__, file=sys.stderr)
        return 2
    return 1 if actions[sys.argv[1]]() else 0
