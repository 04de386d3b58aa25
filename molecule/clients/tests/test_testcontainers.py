"""testcontainers for Python, without its helper Ryuk, whose image would come from a registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from probing import answers, cleaned, datagram


@pytest.fixture
def containers(monkeypatch: pytest.MonkeyPatch, run_dir: Path, engine: Any) -> Any:
    """The library's containers, at the guest's engine."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{run_dir}/docker.sock")
    core = pytest.importorskip("testcontainers.core")
    from testcontainers.core import container, waiting_utils  # noqa: F401, PLC0415

    monkeypatch.setattr(core.config.testcontainers_config, "ryuk_disabled", True)
    # Where the machine itself is somebody's container, the library looks for the engine on its own bridge.
    monkeypatch.setattr("testcontainers.core.utils.inside_container", lambda: False)
    with cleaned(engine):
        yield container


def test_exposed_ports_are_found_and_answer_once_it_said_ready(containers: Any, image: str) -> None:
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: PLC0415

    made = containers.DockerContainer(image).with_exposed_ports(7000, "7000/udp")
    with made.waiting_for(LogMessageWaitStrategy("ready").with_startup_timeout(10)) as started:
        address, port = started.get_container_host_ip(), int(started.get_exposed_port(7000))
        assert address == "localhost"
        assert answers(port, address)
        assert started.exec(["echo", "hello"]).output == b"hello\n"


def test_bound_ports_are_the_ones_asked_for(containers: Any, image: str) -> None:
    with containers.DockerContainer(image).with_bind_ports(7000, 20999).with_bind_ports("7000/udp", 20998) as started:
        assert int(started.get_exposed_port(7000)) == 20999
        assert datagram(20998, b"hello") == b"hello"
