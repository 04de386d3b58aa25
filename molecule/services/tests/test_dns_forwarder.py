"""dns-forwarder: the names of Docker Desktop and of the host, over UDP and TCP, in the guest and in containers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest
from conftest import Ask


@pytest.mark.parametrize("network", ["guest", "bridge", "user network", "host"])
def test_names_resolve(
    engine: docker.DockerClient, probe: Callable[..., Any], ask: Ask, run_dir: Path, network: str
) -> None:
    container = None
    if network == "user network":
        container = probe(network=engine.networks.create("names").name)
    elif network != "guest":
        container = probe(network=network)
    address, known = (run_dir / "hosts").read_text().split()[:2]
    wanted = {"host.docker.internal": "192.168.65.2", "gateway.docker.internal": "192.168.65.2", known: address}
    for transport in ("udp", "tcp"):
        assert {name: ask(name, 1, transport, container)["addresses"] for name in wanted} == {
            name: [found] for name, found in wanted.items()
        }
