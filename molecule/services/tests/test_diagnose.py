"""The bundle: all there is to know about a guest, but for secrets, in one archive."""

from __future__ import annotations

import json
import re
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECRET = "hunter2hunter2"
WANTED = (
    *("host/forwarder/forwards.json", "host/guest/status.json", "host/sockets.txt", "host/versions/kernel.txt"),
    *(
        "guest/services/health.json",
        "guest/network/iptables.txt",
        "guest/network/links.txt",
        "guest/network/sockets.txt",
    ),
    *("guest/config/daemon.json", "guest/engine/containers/probe.json", "guest/logs/docker/dockerd.log"),
    *("guest/processes/tree.txt", "guest/versions/packages.txt", "guest/network/routes.txt"),
)
BOUND = 30.0


def contents(archive: Path) -> dict[str, bytes]:
    """The files of a bundle by their paths, without the folder that all are in."""
    with tarfile.open(archive) as tar:
        found = {member.name: tar.extractfile(member) for member in tar}
        return {name.split("/", 1)[1]: file.read() for name, file in found.items() if file}


def test_a_bundle_has_both_sides_and_no_secret(
    portchain: Callable[..., Any], probe: Callable[..., Any], tmp_path: Path
) -> None:
    probe(environment={"DB_PASSWORD": SECRET, "PLAIN": "shown"}, labels={"proxy": f"http://me:{SECRET}@proxy:1"})
    began = time.monotonic()
    done = portchain("diagnose", "--json", "-o", str(tmp_path / "bundle.tar.gz"))
    assert time.monotonic() - began < BOUND
    assert stat.S_IMODE((tmp_path / "bundle.tar.gz").stat().st_mode) == 0o600
    files = contents(tmp_path / "bundle.tar.gz")
    assert set(WANTED) <= set(files)
    assert not [path for path in json.loads(done.stdout)["notes"] if path.startswith("guest")]
    links = set(re.findall(r'href="([^"]+)"', files["index.html"].decode()))
    assert links == set(files) - {"index.html"}
    assert not [path for path, data in files.items() if SECRET.encode() in data]
    assert any(b"DB_PASSWORD=***" in data and b"PLAIN=shown" in data for data in files.values())
    assert b"-A DOCKER" in files["guest/network/iptables.txt"]
    assert b"docker0" in files["guest/network/links.txt"]
    assert re.search(rb"diagnosticsd.*\n.*-python3", files["guest/processes/tree.txt"])


def test_what_fails_is_noted_and_the_rest_is_there(portchain: Callable[..., Any], tmp_path: Path) -> None:
    portchain("engine", "stop")
    try:
        done = portchain("diagnose", "--json", "-o", str(tmp_path / "bundle.zip"))
    finally:
        portchain("engine", "start")
    notes = json.loads(done.stdout)["notes"]
    assert "the engine does not answer" in notes["guest/engine/info.json"]
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle:
        index = next(name for name in bundle.namelist() if name.endswith("/index.html"))
        assert "the engine does not answer" in bundle.read(index).decode()
        assert any(name.endswith("guest/network/iptables.txt") for name in bundle.namelist())
