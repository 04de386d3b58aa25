"""Each of the seed's six chains, walked by real traffic from a socket on the host to one in a container."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
from pathlib import Path
from typing import Any

import docker
import pytest

TIMEOUT = 10


@pytest.fixture(scope="module")
def credentials(guest_name: str) -> Path:
    """The minikube node's client credentials on the host."""
    return Path("/var/lib/portchain") / guest_name / "minikube"


def get(port: int, path: str) -> tuple[int, bytes]:
    """GET over plain HTTP from the host's localhost."""
    connection = http.client.HTTPConnection("localhost", port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_each_host_port_leads_to_the_seeds_listener(guest_name: str, seed: dict[str, Any]) -> None:
    done = subprocess.run(
        ["portchain", "ps", "--guest", guest_name, "--json"], capture_output=True, text=True, timeout=30, check=True
    )
    rows = [row for row in json.loads(done.stdout) if row["origin"] == "container"]
    wanted = {f":{port}": inside.replace("0.0.0.0", "127.0.0.1") for port, inside, *_ in seed["chains"]}
    assert {row["listen"]: row["target"] for row in rows} == wanted


def test_8080_shows_the_page_of_nginx() -> None:
    status, body = get(8080, "/")
    assert status == 200
    assert b"portchain" in body


def test_49671_shows_the_page_of_the_node_port() -> None:
    status, body = get(49671, "/")
    assert status == 200
    assert b"A NodePort of the node" in body


def test_49672_is_a_registry() -> None:
    assert get(49672, "/v2/") == (200, b"{}")


def test_49673_is_a_healthy_api_endpoint(credentials: Path) -> None:
    context = ssl.create_default_context(cafile=str(credentials / "api-ca.pem"))
    connection = http.client.HTTPSConnection("localhost", 49673, timeout=TIMEOUT, context=context)
    connection.request("GET", "/healthz")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"ok")
    connection.request("GET", "/version")
    assert json.loads(connection.getresponse().read())["major"] == "1"
    connection.close()


def test_49674_is_a_login(credentials: Path) -> None:
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "LogLevel=ERROR")
    command = ["ssh", *(part for option in options for part in ("-o", option)), "-p", "49674"]
    command += ["-i", str(credentials / "id_ed25519"), "docker@localhost", "hostname"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "minikube"), done.stderr


def test_49675_is_dockers_version_over_tls(credentials: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # requests prefers them to the authority it is given
        monkeypatch.delenv(name, raising=False)
    tls = docker.tls.TLSConfig(
        client_cert=(str(credentials / "cert.pem"), str(credentials / "key.pem")),
        ca_cert=str(credentials / "ca.pem"),
        verify=True,
    )
    client = docker.DockerClient(base_url="https://localhost:49675", tls=tls, timeout=TIMEOUT)
    assert client.version()["Version"].startswith("20.10")
    client.close()


def test_49675_wants_a_client_certificate(credentials: Path) -> None:
    context = ssl.create_default_context(cafile=str(credentials / "ca.pem"))
    connection = http.client.HTTPSConnection("localhost", 49675, timeout=TIMEOUT, context=context)
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        connection.request("GET", "/version")
        connection.getresponse()
    connection.close()
