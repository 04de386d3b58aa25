"""In the guest: start and stop the services of /containers, as LinuxKit's init does.

Usage: service start | stop
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from . import kernel
from .bundle import CONTAINERS

NAMESPACE = "services.linuxkit"
_SOCKET = Path("/run/containerd/containerd.sock")
_SERVICES = Path(CONTAINERS) / "services"
_SCRATCH = Path("/run/containers")
_LOGS = Path("/var/log")
_DEADLINE = 30.0
# The engine takes longest to be up, so it is not kept waiting.
_FIRST = ("docker", "vpnkit-forwarder")


def _ctr(*arguments: str) -> list[str]:
    return ["ctr", "-n", NAMESPACE, *arguments]


def wait_for_containerd(deadline: float = _DEADLINE) -> None:
    """Wait until containerd answers; TimeoutError after ``deadline`` seconds."""
    end = time.monotonic() + deadline
    while not _SOCKET.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"guest: no {_SOCKET} after {deadline} s; see the console log")
        time.sleep(0.01)


def mount_root(name: str, image: str) -> None:
    """Mount the root of a service: its files over its image, with a scratch layer on top."""
    scratch = _SCRATCH / name
    for layer in ("upper", "work"):
        (scratch / layer).mkdir(parents=True, exist_ok=True)
    lower = f"{_SERVICES}/{name}/files:{CONTAINERS}/images/{image}"
    options = f"lowerdir={lower},upperdir={scratch}/upper,workdir={scratch}/work,userxattr"
    kernel.mount("overlay", _SERVICES / name / "rootfs", "overlay", 0, options)


def prepare(bundle: Path) -> None:
    """Make what the service's runtime.json asks for, and its root."""
    runtime = json.loads((bundle / "runtime.json").read_text())
    for folder in runtime["mkdir"]:
        Path(folder).mkdir(parents=True, exist_ok=True)
    for mount in runtime["mounts"]:
        command = ["mount", "-t", mount["type"], "-o", ",".join(mount["options"]) or "defaults"]
        subprocess.run([*command, mount["source"], mount["destination"]], check=True, timeout=_DEADLINE)
    mount_root(bundle.name, runtime["image"])


def launch(bundle: Path) -> subprocess.Popen[bytes]:
    """Have containerd run the service, and restart it whenever it ends."""
    log = f"file://{_LOGS}/{bundle.name}.log"
    labels = ("containerd.io/restart.status=running", f"containerd.io/restart.loguri={log}")
    options = [option for label in labels for option in ("--label", label)]
    return subprocess.Popen(
        _ctr("run", "-d", "--config", str(bundle / "config.json"), "--log-uri", log, *options, bundle.name)
    )


def start() -> int:
    """Start every service; returns how many failed to start."""
    bundles = sorted(_SERVICES.iterdir(), key=lambda bundle: (bundle.name not in _FIRST, bundle.name))
    for bundle in bundles:
        prepare(bundle)
    wait_for_containerd()
    running = [launch(bundle) for bundle in bundles if bundle.name in _FIRST]
    running += [launch(bundle) for bundle in bundles if bundle.name not in _FIRST]
    return sum(process.wait(_DEADLINE) != 0 for process in running)


def stop() -> int:
    """End every service, the engine with time to stop its containers."""
    names = [bundle.name for bundle in _SERVICES.iterdir()]
    for name in names:
        label = _ctr("container", "label", name, "containerd.io/restart.status=stopped")
        subprocess.run(label, check=False, timeout=5, stdout=subprocess.DEVNULL)
    for name in names:
        subprocess.run(_ctr("task", "kill", "-s", "SIGTERM", name), check=False, timeout=5)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        listed = subprocess.run(_ctr("task", "ls"), capture_output=True, text=True, check=False, timeout=5).stdout
        if "RUNNING" not in listed:
            return 0
        time.sleep(0.1)
    return 1


def main() -> int:
    """Do what the only argument says."""
    actions = {"start": start, "stop": stop}
    if len(sys.argv) != 2 or sys.argv[1] not in actions:
        print(__doc__, file=sys.stderr)
        return 2
    return 1 if actions[sys.argv[1]]() else 0
