"""What guest and containers see of their memory, may ask of a kernel that is shared, and give back of the disk."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest
from conftest import Portchain
from probing import as_root
from testinfra.host import Host

from support.waiting import eventually

MEGABYTE = 1 << 20
EATEN = 300 * MEGABYTE
UNLIMITED = 1 << 40
LIMITS = "import json, resource; print(json.dumps(resource.getrlimit(resource.RLIMIT_MSGQUEUE)))"


def total(meminfo: str) -> int:
    return int(meminfo.split()[1]) * 1024


def free(meminfo: str) -> int:
    return next(int(line.split()[1]) * 1024 for line in meminfo.splitlines() if line.startswith("MemFree:"))


@pytest.fixture
def memory(guest_name: str) -> int:
    """The bytes that the guest may use."""
    asked: int = json.loads(as_root("cat", f"/var/lib/portchain/{guest_name}/guest.json"))["memory"]
    return min(asked, total(Path("/proc/meminfo").read_text()))


@pytest.fixture(params=["docker.sock", "engine.sock"])
def either(request: pytest.FixtureRequest, engine: docker.DockerClient, raw_engine: docker.DockerClient) -> Any:
    """The engine, as clients of the host see it and as it is."""
    return {"docker.sock": engine, "engine.sock": raw_engine}[request.param]


def test_the_engine_has_the_guests_memory(either: docker.DockerClient, memory: int) -> None:
    assert either.info()["MemTotal"] == memory
    assert either.containers.get("probe").stats(stream=False)["memory_stats"]["limit"] == memory


@pytest.mark.parametrize(
    "words", [{}, {"network": "host"}, {"pid_mode": "host"}, {"privileged": True}, {"mem_limit": "200m"}], ids=str
)
def test_containers_have_the_guests_memory(probe: Callable[..., Any], memory: int, words: dict[str, Any]) -> None:
    assert total(probe(**words).exec_run(["cat", "/proc/meminfo"]).output.decode()) == memory


def test_a_build_has_the_guests_memory(engine: docker.DockerClient, image: str, memory: int) -> None:
    built = engine.api.build(
        fileobj=io.BytesIO(f"FROM {image}\nRUN cat /proc/meminfo\n".encode()), rm=True, nocache=True, decode=True
    )
    said = "".join(line.get("stream", "") for line in built)
    assert total(said[said.index("MemTotal:") :]) == memory


def test_what_a_container_takes_is_free_no_longer(host: Host, probe: Callable[..., Any], memory: int) -> None:
    seen = host.check_output("cat /proc/meminfo")
    assert total(seen) == memory
    container = probe(f"data = bytearray({EATEN}); import time; time.sleep(60)", entrypoint=["python3", "-c"])

    def all_see_less() -> bool:
        places = host.check_output("cat /proc/meminfo"), container.exec_run(["cat", "/proc/meminfo"]).output.decode()
        return all(free(seen) - free(place) > EATEN / 2 for place in places)

    eventually(all_see_less, "the memory that the container took")


def test_a_privileged_container_can_mount_a_proc_of_its_own(probe: Callable[..., Any]) -> None:
    command = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", "echo $$ && ls -d /proc/1"]
    assert probe(privileged=True).exec_run(command).output.decode().split() == ["1", "/proc/1"]


def test_a_domain_name_is_set(either: docker.DockerClient, image: str) -> None:
    words = {"hostname": "web", "domainname": "corp.example", "entrypoint": ["sh", "-c"], "remove": True}
    found = either.containers.run(image, ["cat /proc/sys/kernel/domainname; hostname --fqdn"], **words)
    assert found.decode().split() == ["corp.example", "web.corp.example"]


@pytest.mark.parametrize("inside", ["/dev/other", "/dev/net/other", "/opt/other"])
def test_a_device_may_have_another_name_inside(engine: docker.DockerClient, image: str, inside: str) -> None:
    words = {"devices": [f"/dev/fuse:{inside}:rwm"], "entrypoint": ["sh", "-c"], "remove": True}
    script = f'stat --format "%t %T" {inside} && exec 3<>{inside} && echo opened'
    assert engine.containers.run(image, [script], **words).decode().split() == ["a", "e5", "opened"]


def test_a_privileged_container_has_the_guests_devices(probe: Callable[..., Any]) -> None:
    script = "exec 3<>/dev/fuse && exec 4<>/dev/net/tun && echo opened"
    assert probe(privileged=True).exec_run(["sh", "-c", script]).output.decode() == "opened\n"


@pytest.mark.parametrize("run", ["started", "executed"])
def test_a_limit_above_the_guests_is_the_guests(probe: Callable[..., Any], run: str) -> None:
    highest = json.loads(_output(probe(), LIMITS))[1]
    limits = [
        docker.types.Ulimit(name="msgqueue", soft=1000, hard=UNLIMITED),
        docker.types.Ulimit(name="rtprio", soft=99, hard=99),
    ]
    script = f"{LIMITS}; import sys, time; sys.stdout.flush(); time.sleep(60)"
    container = probe(script, entrypoint=["python3", "-c"], ulimits=limits)
    found = _output(container, LIMITS) if run == "executed" else eventually(container.logs, "its limits")
    assert json.loads(found) == [1000, highest]


def _output(container: Any, script: str) -> str:
    found: str = container.exec_run(["python3", "-c", script]).output.decode()
    return found


def test_an_oom_score_below_the_guests_is_the_guests(engine: docker.DockerClient, image: str) -> None:
    words = {"oom_score_adj": -500, "entrypoint": "cat", "remove": True}
    assert int(engine.containers.run(image, ["/proc/self/oom_score_adj"], **words)) >= 0


def test_space_comes_back_when_it_is_asked_for(portchain: Portchain, host: Host, guest_name: str) -> None:
    image = Path(f"/var/lib/portchain/{guest_name}/data.img")
    size = 64 * MEGABYTE
    for _ in range(3):  # what earlier tests deleted may be trimmed, and this with it, before it is asked for
        before = json.loads(portchain("reclaim", "--json").stdout)
        host.check_output(f"head -c {size} /dev/urandom >/var/lib/docker/ballast && sync")
        assert image.stat().st_blocks * 512 > before["held"] + size / 2
        host.check_output("rm /var/lib/docker/ballast")
        after = json.loads(portchain("reclaim", "--json").stdout)
        if after["freed"]:
            break
    assert after["freed"] > size / 2
    assert after["held"] < before["held"] + size / 2
    said = portchain("reclaim").stdout.decode()
    assert said.startswith(f"{guest_name}: ")
    assert "came back, the data disk holds" in said
