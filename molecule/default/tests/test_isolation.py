"""What a guest that is taken over gains on the host: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host


@pytest.fixture
def secret(run_dir: Path) -> Iterator[Path]:
    """A 0600 file of the host's root, planted where the guest can see it."""
    path = run_dir / "host-services" / "secret"
    path.touch(0o600)
    path.write_text("of the host's root alone\n")
    yield path
    path.unlink()


def test_guest_root_cannot_read_a_0600_file_of_the_hosts(host: Host, secret: Path) -> None:
    inside = f"/run/host-services/{secret.name}"
    assert host.check_output("id -u") == "0"
    assert host.run(f"stat {inside}").rc == 0
    found = host.run(f"cat {inside}")
    assert (found.rc, found.stdout) == (1, "")
    assert "Permission denied" in found.stderr
    assert host.run(f"chown 0:0 {inside}").rc != 0
    assert host.run(f"rm -f {inside}").rc != 0


def test_guest_root_cannot_make_a_device_node(host: Host) -> None:
    found = host.run("mknod /tmp/disk b 7 0")
    assert found.rc != 0
    assert "Operation not permitted" in found.stderr


@pytest.mark.parametrize("name", ["kernel.panic", "vm.swappiness", "fs.file-max", "kernel.core_pattern"])
def test_guest_root_cannot_set_a_setting_of_the_hosts(host: Host, name: str) -> None:
    path = Path("/proc/sys") / name.replace(".", "/")
    before = path.read_text()
    assert host.run(f"sh -c 'echo 1 > {path}'").rc != 0
    assert path.read_text() == before


def test_guest_root_cannot_raise_its_limits_or_its_device_list(host: Host) -> None:
    for name in ("memory/memory.limit_in_bytes", "devices/devices.allow", "memory.max", "pids.max"):
        path = f"/sys/fs/cgroup/{name}"
        if host.file(path).exists:
            assert host.run(f"sh -c 'echo a > {path}'").rc != 0, path


def test_guest_root_cannot_set_the_clock_or_read_the_hosts_log(host: Host) -> None:
    assert host.run("date -s 2001-01-01").rc != 0
    assert host.run("dmesg").rc != 0


def test_what_was_handed_in_cannot_be_taken_off(host: Host) -> None:
    for path in ("/run/host-services", "/var/lib/docker", "/containers"):
        assert host.run(f"umount {path}").rc != 0, path
    assert host.run("mount -o remount,rw /containers").rc != 0


def test_every_process_of_the_guest_is_nobody_on_the_host(state: dict[str, Any]) -> None:
    mapped = Path(f"/proc/{state['pid']}/uid_map").read_text().split()
    assert mapped[0] == "0"
    assert int(mapped[1]) >= 65536
    assert Path(f"/proc/{state['pid']}").stat().st_uid == int(mapped[1])


def test_a_privileged_container_is_no_way_out_either(engine: Any) -> None:
    status, output = engine.containers.get("minikube").exec_run("mknod /tmp/disk b 254 0")
    assert (status != 0, b"not permitted" in output) == (True, True), output
