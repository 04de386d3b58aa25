"""acpid: the guest is powered off in good order when its button is pressed."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from probing import remove, wait_for
from testinfra.host import Host

from portchain.guest import manage
from portchain.guest.power_button import PIPE
from portchain.guest.spec import GuestSpec
from portchain.guest.supervisor import BUTTON_DEADLINE, POWER_OFF_DEADLINE

STUBBORN = "acpid has not noticed the power button"
# What it writes is not synced by itself.
KEEPER = "trap 'date >/kept/ended; exit' TERM; touch /kept/began; while :; do sleep 0.1; done"


@pytest.fixture
def log(guest_name: str) -> Iterator[Path]:
    """The supervisor's log; the guest runs again after the test."""
    yield Path(f"/var/log/portchain/{guest_name}/guest/current")
    manage.start(GuestSpec.load(manage.spec_file(guest_name)))


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


def ending(log: Path) -> str:
    """What was logged since the guest's last boot."""
    return log.read_text().rpartition("running, first process")[2]


def answered(engine: docker.DockerClient) -> None:
    wait_for(engine.ping, "the engine's answer", 20)


def test_containers_are_asked_to_end_and_their_data_is_kept(
    engine: docker.DockerClient, busybox: str, run_dir: Path, guest_name: str, log: Path
) -> None:
    answered(engine)
    keeper = engine.containers.run(busybox, ["sh", "-c", KEEPER], detach=True, volumes=["kept:/kept"])
    show = {"image": busybox, "command": ["sh", "-c", "ls /kept"], "volumes": ["kept:/kept"], "remove": True}
    wait_for(lambda: engine.containers.run(**show) == b"began\n", "the container to run")
    (run_dir / "host-services" / PIPE).write_text("button/power PBTN 00000080 00000000\n")
    wait_for(lambda: manage.status(guest_name).state == "stopped", "the guest to be off", POWER_OFF_DEADLINE)
    assert f"guest {guest_name}: power off" in ending(log)
    manage.start(GuestSpec.load(manage.spec_file(guest_name)))
    answered(engine)
    assert engine.containers.run(**show) == b"began\nended\n"
    keeper.reload()
    assert keeper.attrs["State"]["ExitCode"] == 0
    remove(keeper)
    engine.volumes.get("kept").remove()


def test_stopping_the_guest_presses_the_button(engine: docker.DockerClient, guest_name: str, log: Path) -> None:
    answered(engine)
    manage.stop(guest_name)
    assert f"guest {guest_name}: power off" in ending(log)
    assert STUBBORN not in ending(log)


def test_a_guest_without_acpid_is_stopped_after_the_deadline(
    engine: docker.DockerClient, host: Host, guest_name: str, log: Path
) -> None:
    answered(engine)
    host.run_expect([0], "ctr -n services.linuxkit container label acpid containerd.io/restart.status=stopped")
    wait_for(lambda: not host.process.filter(comm="acpid"), "acpid to be ended")
    asked = time.monotonic()
    manage.stop(guest_name)
    assert BUTTON_DEADLINE < time.monotonic() - asked < POWER_OFF_DEADLINE
    assert STUBBORN in ending(log)
    assert f"guest {guest_name}: power off" in ending(log)
