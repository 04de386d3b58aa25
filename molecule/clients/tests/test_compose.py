"""docker-compose 1.29 and docker compose 2: scale over a range, up again, down again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from probing import Run, answered, datagram, refused

from support.host_ports import free_ports

REPLICAS = 3
IN_CONTAINER = "/var/run/docker.sock"


class Project:
    """A compose project: ``web`` scales over a range of host ports, ``one`` has an explicit and a random one.

    ``one`` has the engine's ``socket`` mounted as well, by its path on the host.
    """

    def __init__(self, compose: Run, engine: Any, folder: Path, image: str, socket: Path) -> None:
        self.engine = engine
        self.range = free_ports(REPLICAS + 2)
        (self.explicit,) = free_ports()
        services = {
            "web": {"ports": [f"{self.range[0]}-{self.range[-1]}:7000"]},
            "one": {
                "ports": [f"{self.explicit}:7000", "127.0.0.1::7000/udp"],
                "volumes": [f"{socket}:{IN_CONTAINER}:ro"],
            },
        }
        definition = {
            "version": "3.3",
            "services": {name: {"image": image, "stop_signal": "SIGKILL", **s} for name, s in services.items()},
        }
        self.file = folder / "compose.json"
        self.file.write_text(json.dumps(definition))
        self._compose = compose

    def __call__(self, *words: str) -> str:
        """What the command prints."""
        return self._compose("--file", str(self.file), *words).stdout

    def up(self) -> None:
        """All services up, as many of ``web`` as are wanted."""
        self("up", "--detach", "--scale", f"web={REPLICAS}")

    def runs(self) -> dict[str, str]:
        """The project's containers, and since when each runs."""
        found = self.engine.containers.list(all=True, filters={"label": "com.docker.compose.project=fleet"})
        return {container.id: container.attrs["State"]["StartedAt"] for container in found}

    def port(self, service: str, index: int = 1) -> int:
        """The host port that ``port`` tells."""
        return int(self("port", "--index", str(index), service, "7000").strip().rpartition(":")[2])


@pytest.fixture
def project(compose: Run, engine: Any, tmp_path: Path, image: str, run_dir: Path) -> Project:
    """A project that is not up yet."""
    return Project(compose, engine, tmp_path, image, run_dir / "docker.sock")


def test_scale_over_a_range_and_up_again_recreates_nothing(project: Project) -> None:
    project.up()
    ports = {project.port("web", index + 1) for index in range(REPLICAS)}
    assert len(ports) == REPLICAS
    assert ports < set(project.range)
    for port in (*ports, project.explicit):
        answered(port)
    udp = int(project("port", "--protocol", "udp", "one", "7000").strip().rpartition(":")[2])
    assert datagram(udp, b"hello") == b"hello"
    shown = project("ps")
    assert all(f":{port}->7000/tcp" in shown for port in ports)

    assert "Server" in project("exec", "-T", "one", "docker", "version")
    before = project.runs()
    project.up()
    assert project.runs() == before

    project("up", "--detach", "--scale", "web=1")
    (kept,) = [port for port in project.range if not refused(port)]
    answered(kept)
    project.up()
    assert len([port for port in project.range if not refused(port)]) == REPLICAS


def test_down_and_up_again(project: Project) -> None:
    for _ in range(2):
        project.up()
        answered(project.explicit)
        project("down")
        assert not project.runs()
        assert all(refused(port) for port in (*project.range, project.explicit))
