"""http-proxy: dockerd's way out, and on to the host's proxy where there is one."""

from __future__ import annotations

from collections.abc import Callable

import docker
import pytest
from conftest import Ask
from outside import Proxy
from testinfra.host import Host

LOG = "/var/log/http-proxy.log"


def pull(engine: docker.DockerClient, image: str) -> None:
    """Have the engine pull ``image`` anew, and let go of it."""
    engine.images.pull(image, tag="1")
    engine.images.remove(f"{image}:1")


def test_the_engine_pulls_through_it(engine: docker.DockerClient, host: Host, registry_port: int) -> None:
    place = f"host.docker.internal:{registry_port}"
    pull(engine, f"{place}/hello")
    assert f"CONNECT {place} " in host.file(LOG).content_string


def test_it_has_a_name_everywhere(ask: Ask, engine: docker.DockerClient) -> None:
    places = (None, engine.containers.get("probe"))
    assert [ask("http.docker.internal", container=place)["addresses"] for place in places] == [["192.168.65.3"]] * 2


def test_it_hands_on_to_the_hosts_proxy(engine: docker.DockerClient, proxy: Proxy, go_by: Callable[..., None]) -> None:
    go_by(http_proxy=f"http://127.0.0.1:{proxy.port}")
    pull(engine, "registry.test/hello")
    assert set(proxy.asked) == {"CONNECT registry.test:443"}


def test_what_no_proxy_names_goes_past_it(
    engine: docker.DockerClient, proxy: Proxy, go_by: Callable[..., None], registry_port: int
) -> None:
    go_by(http_proxy=f"http://127.0.0.1:{proxy.port}", no_proxy=["other.test"])
    with pytest.raises(docker.errors.APIError, match=r"other\.test"):
        pull(engine, "other.test/hello")
    pull(engine, f"host.docker.internal:{registry_port}/hello")
    assert proxy.asked == []
