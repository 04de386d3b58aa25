"""Run the containers in the guest's /containers, as LinuxKit's init does.

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

from ..linux import syscalls
from ..linuxkit.paths import CONTAINERS, FIFOS, NAMESPACE, STARTS, Bundle, bundles
from . import root_files
from .logs.collector import kept_until_read, make_fifo

_SOCKET = Path("/run/containerd/containerd.sock")
_SCRATCH = Path("/run/containers")
_DEADLINE = 30.0
_ONBOOT_DEADLINE = 300.0
# The engine gives its containers 10 s.
_STOP_DEADLINE = 12.0
_IGNORED_SIGTERM_DEADLINE = 0.5
_ONSHUTDOWN_DEADLINE = 5.0
_COLLECTOR_DEADLINE = 5.0
# The engine takes longest to come up, so its service is started first.
_STARTED_FIRST = ("docker", "vpnkit-forwarder")
_BATCH_SIZE = 4


def _ctr(*arguments: str) -> list[str]:
    return ["ctr", "-n", NAMESPACE, *arguments]


def _log_uri(bundle: Bundle) -> str:
    return f"file://{make_fifo(Path(FIFOS), bundle.name)}"


def wait_for_containerd(deadline: float = _DEADLINE) -> None:
    """Wait until containerd's socket is there; raise TimeoutError after ``deadline`` seconds."""
    end = time.monotonic() + deadline
    while not _SOCKET.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"guest: no {_SOCKET} after {deadline} s; see the console log")
        time.sleep(0.01)


def mount_root(bundle: Bundle, image: str) -> None:
    """Mount a container's root: its files over its image, and a scratch layer on top."""
    scratch = _SCRATCH / bundle.kind / bundle.folder
    for layer in ("upper", "work"):
        (scratch / layer).mkdir(parents=True, exist_ok=True)
    lower = f"{bundle.path}/files:{CONTAINERS}/images/{image}"
    options = f"lowerdir={lower},upperdir={scratch}/upper,workdir={scratch}/work,userxattr"
    syscalls.mount("overlay", Path(bundle.rootfs), "overlay", 0, options)


def prepare(bundle: Bundle) -> None:
    """Make the folders and mounts that the container's runtime.json asks for, then mount its root."""
    runtime = bundle.runtime
    for folder in runtime["mkdir"]:
        Path(folder).mkdir(parents=True, exist_ok=True)
    for mount in runtime["mounts"]:
        command = ["mount", "-t", mount["type"], "-o", ",".join(mount["options"]) or "defaults"]
        subprocess.run([*command, mount["source"], mount["destination"]], check=True, timeout=_DEADLINE)
    mount_root(bundle, runtime["image"])


def start_logged(bundle: Bundle, command: list[str]) -> subprocess.Popen[bytes]:
    """Start ``command`` with its output going to the container's log."""
    output = os.open(make_fifo(Path(FIFOS), bundle.name), os.O_RDWR)
    try:
        return subprocess.Popen(command, stdout=output, stderr=output)
    finally:
        os.close(output)


def run_in_turn(kind: str, deadline: float) -> int:
    """Run the containers of ``kind`` to completion, one after the other; return how many failed."""
    failed = 0
    for bundle in bundles(kind):
        prepare(bundle)
        runc = start_logged(bundle, ["runc", "run", "--bundle", str(bundle.path), bundle.folder])
        try:
            outcome = f"ended with status {status}" if (status := runc.wait(deadline)) else ""
        except subprocess.TimeoutExpired:
            subprocess.run(["runc", "delete", "--force", bundle.folder], check=False, timeout=_DEADLINE)
            outcome = f"killed, for it had not ended after {deadline:.0f} s"
        if outcome:
            failed += 1
            print(f"guest: {kind} {bundle.name}: {outcome}; portchain logs {bundle.name}", file=sys.stderr, flush=True)
    return failed


def create(bundle: Bundle, *action: str) -> subprocess.Popen[bytes]:
    """Have containerd create the service's container; ``action`` is ctr's subcommand: ``run -d`` starts it, too."""
    return start_logged(bundle, _ctr(*action, "--config", f"{bundle.path}/config.json", bundle.name))


def keep_running(bundle: Bundle) -> subprocess.Popen[bytes]:
    """Have containerd restart the service whenever it is not running."""
    labels = ("containerd.io/restart.status=running", f"containerd.io/restart.loguri={_log_uri(bundle)}")
    return subprocess.Popen(_ctr("container", "label", bundle.name, *labels), stdout=subprocess.DEVNULL)


def launch(services: list[Bundle]) -> int:
    """Launch ``services`` a few at a time; return how many did not start. Containerd goes on trying those.

    The restart label is set only once they run: containerd takes a service that is about to start for one that ended.
    """
    failed = 0
    for start in range(0, len(services), _BATCH_SIZE):
        batch = services[start : start + _BATCH_SIZE]
        starting = [(bundle, create(bundle, "run", "-d", "--log-uri", _log_uri(bundle))) for bundle in batch]
        for bundle, process in starting:
            if process.wait(_DEADLINE):
                failed += 1
                create(bundle, "container", "create").wait(_DEADLINE)
                print(f"guest: service {bundle.name} does not start; portchain logs {bundle.name}", file=sys.stderr)
        for label in [keep_running(bundle) for bundle in batch if bundle.runtime["restart"]]:
            label.wait(_DEADLINE)
    return failed


def start() -> int:
    """Start everything; return how many files, volumes and containers failed."""
    for folder in (FIFOS, STARTS):
        Path(folder).mkdir(parents=True, exist_ok=True)
    failed = root_files.make_all()
    services = sorted(bundles("services"), key=lambda bundle: bundle.name not in _STARTED_FIRST)
    names = [bundle.name for bundle in (*bundles("onboot"), *services)]
    with kept_until_read(Path(FIFOS), names, _COLLECTOR_DEADLINE):
        failed += run_in_turn("onboot", _ONBOOT_DEADLINE)
        for bundle in services:
            prepare(bundle)
        wait_for_containerd()
        return failed + launch(services)


def stop() -> int:
    """End every service, giving the engine time to stop its containers, then run onshutdown; return how many failed."""
    for bundle in bundles("services"):
        # The label is emptied, not set to "stopped": containerd would kill the service for that.
        label = _ctr("container", "label", bundle.name, "containerd.io/restart.status=")
        subprocess.run(label, check=False, timeout=5, stdout=subprocess.DEVNULL)
    began = time.monotonic()
    for pid in _service_pids():
        _send(pid, signal.SIGTERM)
    while (remaining := _service_pids()) and time.monotonic() - began < _STOP_DEADLINE:
        if time.monotonic() - began > _IGNORED_SIGTERM_DEADLINE:
            for pid in filter(_ignores_sigterm, remaining):
                _send(pid, signal.SIGKILL)
        time.sleep(0.1)
    return len(remaining) + run_in_turn("onshutdown", _ONSHUTDOWN_DEADLINE)


def _service_pids() -> list[int]:
    """Return the first process of each service that runs."""
    tasks = subprocess.run(_ctr("task", "ls"), capture_output=True, text=True, check=False, timeout=5).stdout
    return [int(line.split()[1]) for line in tasks.splitlines() if line.endswith("RUNNING")]


def _ignores_sigterm(pid: int) -> bool:
    """Return whether SIGTERM has no effect: the first process of a pid namespace has no default action for it."""
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
    """Run the action that the only argument names."""
    actions = {"start": start, "stop": stop}
    if len(sys.argv) != 2 or sys.argv[1] not in actions:
        print(__doc__, file=sys.stderr)
        return 2
    return 1 if actions[sys.argv[1]]() else 0
