"""No device of the host's can be opened in the guest: no node can be made, and those that are brought are dead."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from testinfra.host import Host

from portchain.host import guests

# BuildKit could not clear nodev there; the host makes the file system, and nobody in the guest can make a node in it.
DISK = "/var/lib/docker"


@pytest.fixture
def disk_of_host() -> tuple[int, int]:
    """The numbers of a block device of the host's."""
    number = next(Path("/sys/class/block").iterdir()).joinpath("dev").read_text()
    major, _, minor = number.strip().partition(":")
    return int(major), int(minor)


@pytest.fixture
def planted(disk_of_host: tuple[int, int]) -> Iterator[str]:
    """A node of that device, put by the host into what the guest is given; return its name below /run/host-services."""
    path = Path("/run/portchain/hostile/host-services/disk")
    os.mknod(path, stat.S_IFBLK | 0o666, os.makedev(*disk_of_host))
    path.chmod(0o666)
    yield path.name
    path.unlink()


def handed_in() -> dict[str, set[str]]:
    """The options of each mount that the supervisor hands into the guest, by path in the guest."""
    top = "/run/portchain/hostile/mnt/root"
    mounts = Path(f"/proc/{guests.status('hostile').supervisor}/mountinfo").read_text().splitlines()
    found = {line.split()[4]: set(line.split()[5].split(",")) for line in mounts}
    return {path.removeprefix(top) or "/": options for path, options in found.items() if path.startswith(top)}


def test_every_mount_that_the_guest_is_given_is_nodev_but_dev_and_its_disk() -> None:
    mounts = handed_in()
    assert {"/", "/run", "/run/host-services", "/containers", "/containers/images/docker"} <= mounts.keys()
    assert {path for path, options in mounts.items() if "nodev" not in options} == {"/dev", DISK}


def test_there_is_no_device_node_on_the_guests_disk(guest_root: Host) -> None:
    nodes = guest_root.check_output(f"find {DISK} -xdev -type b -o -xdev -type c").splitlines()
    numbers = [guest_root.check_output("stat -c %%t:%%T %s", node) for node in nodes]
    assert set(numbers) <= {"0:0"}  # the whiteouts of overlays


def test_a_node_that_is_brought_into_the_guest_cannot_be_opened(guest_root: Host, planted: str) -> None:
    found = guest_root.run(f"head -c 1 /run/host-services/{planted}")
    assert found.rc != 0
    # "Operation not permitted" would be the control group of cgroup v1; this is the mount, which needs none.
    assert "Permission denied" in found.stderr


def test_guest_root_cannot_make_a_node(guest_root: Host, disk_of_host: tuple[int, int]) -> None:
    major, minor = disk_of_host
    for folder in ("/dev", "/tmp", "/run", DISK, "/root"):
        found = guest_root.run(f"mknod {folder}/disk b {major} {minor}")
        assert "Operation not permitted" in found.stderr, folder


def test_a_privileged_container_cannot_make_or_open_one(
    engine_of_hostile: docker.DockerClient, disk_of_host: tuple[int, int], planted: str
) -> None:
    major, minor = disk_of_host
    image = engine_of_hostile.containers.get("probe").image.tags[0]
    script = f"import os, stat\nos.mknod('/disk', stat.S_IFBLK | 0o666, os.makedev({major}, {minor}))"
    words: dict[str, Any] = {"privileged": True, "remove": True, "entrypoint": "/usr/bin/python3"}
    with pytest.raises(docker.errors.ContainerError, match="PermissionError"):
        engine_of_hostile.containers.run(image, ["-c", script], **words)
    with pytest.raises(docker.errors.ContainerError, match="PermissionError"):
        script = f"open('/given/{planted}', 'rb').read(1)"
        volumes = {"/run/host-services": {"bind": "/given", "mode": "rw"}}
        engine_of_hostile.containers.run(image, ["-c", script], volumes=volumes, **words)


def test_the_nodes_that_a_guest_is_to_have_work(guest_root: Host, engine_of_hostile: docker.DockerClient) -> None:
    script = (
        "for n in null zero full random urandom tty; do test -c /dev/$n || exit 1; done; head -c 1 /dev/zero | wc -c"
    )
    assert guest_root.check_output(f"sh -c '{script}'") == "1"
    assert guest_root.run("sh -c 'echo x > /dev/null'").rc == 0
    probe = engine_of_hostile.containers.get("probe")
    status, output = probe.exec_run(["/usr/bin/python3", "-c", "print(open('/dev/zero','rb').read(1))"])
    assert (status, output.strip()) == (0, b"b'\\x00'")


@pytest.fixture(scope="module")
def engine_of_hostile() -> docker.DockerClient:
    """The engine of the guest, through the host's docker.sock."""
    return docker.DockerClient(base_url="unix:///run/portchain/hostile/docker.sock")
