"""What the scenarios' tests share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import docker
import pytest
import testinfra
import yaml
from probing import cleaned
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

DATA = Path(__file__).parents[1] / "tests/data"
ENGINE = os.environ.get("GUEST_ENGINE", "debian-12")  # as in engine.yml


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have more done where there is time."""
    parser.addoption("--traces", type=int, default=40, help="how often a healthy machine is traced")


@pytest.fixture(scope="session")
def seed() -> dict[str, Any]:
    """The facts of the machine that is reproduced."""
    facts: dict[str, Any] = yaml.safe_load((DATA / "seed_topology.yml").read_text())
    return facts


@pytest.fixture(scope="session")
def versions() -> dict[str, str]:
    """What is the guest's engine's own: how the versions of its parts begin, and the like."""
    found: dict[str, str] = yaml.safe_load((DATA / "engines.yml").read_text())[ENGINE]
    return found


@cache
def guests(inventory: str) -> list[str]:
    """The names of the inventory's guests."""
    found: list[str] = AnsibleRunner(inventory).get_hosts("guests")
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have each test run for every guest of the inventory."""
    if "guest_name" in metafunc.fixturenames:
        inventory = metafunc.config.getoption("--ansible-inventory")
        metafunc.parametrize("guest_name", guests(inventory), scope="session")


@pytest.fixture(scope="session")
def host(guest_name: str) -> Host:
    """The guest's inside, reached as a person reaches it: testinfra does not template the inventory's ssh arguments."""
    return testinfra.get_host(f"ssh://{guest_name}", ssh_config=f"/run/portchain/{guest_name}/ssh_config")


@pytest.fixture(scope="session")
def run_dir(guest_name: str) -> Path:
    """The folder of the guest's sockets on the host."""
    return Path("/run/portchain") / guest_name


@pytest.fixture(scope="session")
def engine(run_dir: Path) -> docker.DockerClient:
    """The guest's engine, through the host's docker.sock."""
    return docker.DockerClient(base_url=f"unix://{run_dir}/docker.sock")


@pytest.fixture(scope="session")
def raw_engine(run_dir: Path) -> docker.DockerClient:
    """The guest's engine as it is, with the guest's ports."""
    return docker.DockerClient(base_url=f"unix://{run_dir}/engine.sock")


@pytest.fixture(scope="session")
def in_engine(host: Host) -> Callable[[str], str]:
    """Runs a command inside the docker service, as the seed does: with ctr."""

    def run(command: str) -> str:
        exec_id = f"test-{abs(hash(command))}"
        found = host.run(f"ctr -n services.linuxkit tasks exec --exec-id {exec_id} docker {command}")
        assert found.rc == 0, found.stderr
        out: str = found.stdout
        return out

    return run


@pytest.fixture(scope="session")
def machine() -> Host:
    """The machine that runs the guests."""
    return testinfra.get_host("local://")


@pytest.fixture
def state(run_dir: Path) -> dict[str, Any]:
    """What the supervisor says it runs."""
    found: dict[str, Any] = json.loads((run_dir / "state.json").read_text())
    return found


@pytest.fixture(scope="session")
def image(engine: docker.DockerClient) -> str:
    """The image whose containers are probes."""
    return str(engine.containers.get("probe").image.tags[0])


@pytest.fixture
def probe(engine: docker.DockerClient, image: str) -> Iterator[Callable[..., Any]]:
    """Runs a probe with the words of the SDK's ``run``; all that the test makes in the engine is removed afterwards."""

    def run(*command: str, **words: Any) -> Any:
        return engine.containers.run(image, list(command) or None, detach=True, stop_signal="SIGKILL", **words)

    with cleaned(engine):
        yield run
