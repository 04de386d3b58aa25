"""What the scenarios' tests share. Each runs once for every guest of the scenario's inventory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest
import testinfra
import yaml
from testinfra.host import Host

SEED = Path(__file__).parents[1] / "tests/data/seed_topology.yml"


@pytest.fixture(scope="session")
def seed() -> dict[str, Any]:
    """The facts of the machine that is reproduced."""
    facts: dict[str, Any] = yaml.safe_load(SEED.read_text())
    return facts


@pytest.fixture(scope="module")
def guest_name(host: Host) -> str:
    """The guest that the test is about: the inventory host it runs on."""
    name: str = host.backend.get_pytest_id().rpartition("://")[2]
    return name


@pytest.fixture(scope="module")
def run_dir(guest_name: str) -> Path:
    """The folder of the guest's sockets on the host."""
    return Path("/run/portchain") / guest_name


@pytest.fixture(scope="module")
def engine(run_dir: Path) -> docker.DockerClient:
    """The guest's engine, through the host's docker.sock."""
    return docker.DockerClient(base_url=f"unix://{run_dir}/docker.sock")


@pytest.fixture(scope="module")
def in_engine(host: Host) -> Callable[[str], str]:
    """Runs a command inside the docker service, as the seed does: with ctr."""

    def run(command: str) -> str:
        exec_id = f"test-{abs(hash(command))}"
        found = host.run(f"ctr -n services.linuxkit tasks exec --exec-id {exec_id} docker {command}")
        assert found.rc == 0, found.stderr
        out: str = found.stdout
        return out

    return run


@pytest.fixture(scope="module")
def machine() -> Host:
    """The machine that runs the guests."""
    return testinfra.get_host("local://")


@pytest.fixture(scope="module")
def state(run_dir: Path) -> dict[str, Any]:
    """What the supervisor says it runs."""
    found: dict[str, Any] = json.loads((run_dir / "state.json").read_text())
    return found
