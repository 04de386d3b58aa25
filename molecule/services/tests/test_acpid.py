"""acpid: the guest is powered off in good order when its button is pressed."""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from probing import remove
from testinfra.host import Host

from portchain.host import guests
from portchain.host.drivers.namespace.power_button import PIPE
from portchain.host.drivers.namespace.supervisor import BUTTON_DEADLINE, POWER_OFF_DEADLINE
from portchain.host.guest_spec import GuestSpec
from support.waiting import eventually

UNNOTICED = "acpid has not noticed the power button"
# What it writes is not synced by itself.
KEEPER = "trap 'date >/kept/ended; exit' TERM; touch /kept/began; while :; do sleep 0.1; done"


@dataclass(frozen=True)
class Guest:
    """The guest from outside."""

    name: str
    run_dir: Path
    engine: docker.DockerClient

    def press(self) -> None:
        """Press the button by hand, and wait until the guest is off."""
        (self.run_dir / "host-services" / PIPE).write_text("button/power PBTN 00000080 00000000\n")
        eventually(lambda: guests.status(self.name).state == "stopped", "the guest to be off", POWER_OFF_DEADLINE)

    def stop(self) -> None:
        guests.stop(self.name)

    def start(self) -> None:
        guests.start(GuestSpec.load(guests.spec_file(self.name)))
        eventually(self.engine.ping, "the engine's answer", 20)
        eventually(self._in_order, "its services and containers", 30)

    def _in_order(self) -> bool:
        status = subprocess.run(["portchain", "status", "--guest", self.name], capture_output=True, check=False)
        return status.returncode == 0 and self.engine.containers.get("probe").status == "running"

    def ending(self) -> str:
        """What the supervisor logged since the last boot."""
        log = Path(f"/var/log/portchain/{self.name}/guest/current").read_text()
        return log.rpartition("running, first process")[2]


@pytest.fixture
def guest(guest_name: str, run_dir: Path, engine: docker.DockerClient) -> Iterator[Guest]:
    """One that runs before and after the test."""
    guest = Guest(guest_name, run_dir, engine)
    guest.start()
    yield guest
    guest.start()


@pytest.fixture
def busybox(engine: docker.DockerClient, host: Host) -> str:
    """An image with the guest's own busybox."""
    content = host.file("/usr/bin/busybox").content
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        program = tarfile.TarInfo("bin/sh")
        program.size, program.mode = len(content), 0o755
        tar.addfile(program, io.BytesIO(content))
    engine.api.import_image_from_data(layer.getvalue(), repository="test/busybox", tag="1")
    return "test/busybox:1"


@pytest.fixture
def volume(engine: docker.DockerClient, guest: Guest) -> Iterator[str]:
    """A volume's name; it is removed with the containers that have it."""
    name = f"kept-{uuid.uuid4()}"
    yield name
    guest.start()
    for container in engine.containers.list(all=True, filters={"volume": name}):
        remove(container)
    engine.volumes.get(name).remove()


@pytest.mark.parametrize("way", ["press", "stop"])
def test_containers_are_asked_to_end_and_their_data_is_kept(guest: Guest, busybox: str, volume: str, way: str) -> None:
    def kept() -> bytes:
        show = ["sh", "-c", "ls /kept"]
        found: bytes = guest.engine.containers.run(busybox, show, volumes=[f"{volume}:/kept"], remove=True)
        return found

    keeper = guest.engine.containers.run(busybox, ["sh", "-c", KEEPER], detach=True, volumes=[f"{volume}:/kept"])
    eventually(lambda: kept() == b"began\n", "the container to run", 20)
    getattr(guest, way)()
    assert f"guest {guest.name}: power off" in guest.ending()
    assert UNNOTICED not in guest.ending()
    guest.start()
    assert kept() == b"began\nended\n"
    keeper.reload()
    assert keeper.attrs["State"]["ExitCode"] == 0


def test_a_guest_without_acpid_is_stopped_after_the_deadline(guest: Guest, host: Host) -> None:
    host.run_expect([0], "ctr -n services.linuxkit container label acpid containerd.io/restart.status=stopped")
    eventually(lambda: not host.process.filter(comm="acpid"), "acpid to be ended")
    asked = time.monotonic()
    guest.stop()
    assert BUTTON_DEADLINE < time.monotonic() - asked < POWER_OFF_DEADLINE
    assert UNNOTICED in guest.ending()
    assert f"guest {guest.name}: power off" in guest.ending()
