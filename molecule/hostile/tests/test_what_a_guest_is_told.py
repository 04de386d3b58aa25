"""A guest learns that a port of the host is taken, but not by whom."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import docker
import pytest
from docker.models.containers import Container
from testinfra.host import Host

SOCKET = "/run/host-services/docker.sock"
REQUEST = "{} /containers/taken/{} HTTP/1.0\r\nContent-Length: 0\r\n\r\n"
PORT = 17990  # of the range that the guest may publish in
IN_USE = "bind: address already in use"


@pytest.fixture
def taken() -> Iterator[Container]:
    """A container that publishes a port that this process has."""
    engine = docker.DockerClient(base_url="unix:///run/portchain/hostile/docker.sock")
    image = engine.containers.get("probe").image.tags[0]
    with socket.create_server(("127.0.0.1", PORT)):
        container = engine.containers.create(image, name="taken", ports={"7000/tcp": ("127.0.0.1", PORT)})
        yield container
        container.remove(force=True)
    engine.close()


def asked_by_guest(guest_root: Host, method: str, action: str) -> str:
    """What the guest's root is answered at the host's docker.sock."""
    connect = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({SOCKET!r})"
    request = REQUEST.format(method, action).encode()
    read = "print(b''.join(iter(lambda: s.recv(65536), b'')).decode())"
    return str(guest_root.check_output("python3 -c %s", f"{connect}; s.send({request!r}); {read}"))


def test_only_clients_on_the_host_read_which_process_has_a_port(guest_root: Host, taken: Container) -> None:
    holder = f"(pid {os.getpid()})"
    with pytest.raises(docker.errors.APIError, match=IN_USE) as refused:
        taken.start()
    assert holder in str(refused.value)
    taken.reload()
    assert holder in taken.attrs["State"]["Error"]
    for method, action in (("POST", "start"), ("GET", "json")):
        told = asked_by_guest(guest_root, method, action)
        assert IN_USE in told
        assert "pid" not in told.partition(IN_USE)[2].partition('"')[0]


def test_containers_of_the_guest_are_told_no_more(guest_root: Host, taken: Container) -> None:
    with contextlib.suppress(docker.errors.APIError):
        taken.start()
    engine = taken.client
    assert engine
    code = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/var/run/docker.sock');"
        f"s.send({REQUEST.format('POST', 'start').encode()!r}); print(s.recv(65536).decode())"
    )
    volumes = {"/var/run/docker.sock": {"bind": "/var/run/docker.sock", "mode": "rw"}}
    image = engine.containers.get("probe").image.tags[0]
    told = engine.containers.run(image, ["-c", code], entrypoint="/usr/bin/python3", volumes=volumes, remove=True)
    assert IN_USE in told.decode()
    assert "listens there" not in told.decode()
