"""The files of volumes, listed and read without a container; nothing outside of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from testinfra.host import Host

from portchain.http.blocking_client import get_json, request

SIZE = 50_000_000
FILL = f"""
import hashlib, os, random
os.makedirs("/data/site/css")
with open("/data/site/index.html", "w") as file: file.write("hello")
os.chmod("/data/site/index.html", 0o600)
os.chown("/data/site/index.html", 33, 33)
os.symlink("index.html", "/data/site/start")
os.symlink("/etc/shadow", "/data/shadow")
os.symlink("../../../../../etc/shadow", "/data/up")
os.mkfifo("/data/pipe")
with open("/data/large", "wb") as file: file.write(random.Random(1).randbytes({SIZE}))
print(hashlib.sha256(open("/data/large", "rb").read()).hexdigest())
"""


@pytest.fixture(scope="module")
def volume(engine: docker.DockerClient, image: str) -> Iterator[tuple[str, str]]:
    """A volume with files of several kinds, and the digest of the large one."""
    made = engine.volumes.create()
    mounts = {made.name: {"bind": "/data", "mode": "rw"}}
    output = engine.containers.run(image, ["-c", FILL], entrypoint=["python3"], volumes=mounts, remove=True)
    yield made.name, output.decode().strip()
    made.remove()


def test_a_volume_is_listed(portchain: Callable[..., Any], volume: tuple[str, str]) -> None:
    assert volume[0] in [row["name"] for row in json.loads(portchain("volume", "--json", "ls").stdout)]
    rows = json.loads(portchain("volume", "--json", "ls", f"{volume[0]}:/site").stdout)
    assert [(row["name"], row["type"], row["mode"], row["uid"]) for row in rows] == [
        ("css", "directory", "drwxr-xr-x", 0),
        ("index.html", "file", "-rw-------", 33),
        ("start", "symlink", "lrwxrwxrwx", 0),
    ]
    lines = portchain("volume", "ls", volume[0]).stdout.decode().splitlines()
    assert [line.split()[-1] for line in lines if "->" not in line] == ["NAME", "large", "pipe", "site"]


def test_files_are_read_whole_whoever_owns_them(portchain: Callable[..., Any], volume: tuple[str, str]) -> None:
    assert portchain("volume", "cat", f"{volume[0]}:/site/index.html").stdout == b"hello"
    assert portchain("volume", "cat", f"{volume[0]}:site/start").stdout == b"hello"
    assert hashlib.sha256(portchain("volume", "cat", f"{volume[0]}:large").stdout).hexdigest() == volume[1]


@pytest.mark.parametrize("path", ["shadow", "up", "../../../../etc/shadow", "/site/../../metadata.db"])
def test_nothing_outside_is_read(portchain: Callable[..., Any], volume: tuple[str, str], path: str) -> None:
    done = portchain("volume", "cat", f"{volume[0]}:{path}", status=1)
    assert done.stdout == b""
    assert f"guest: {volume[0]}:{path}: the path leads out of the volume" in done.stderr.decode()


def test_what_is_no_file_is_said(portchain: Callable[..., Any], volume: tuple[str, str]) -> None:
    assert "is a fifo" in portchain("volume", "cat", f"{volume[0]}:pipe", status=1).stderr.decode()
    assert "no such file" in portchain("volume", "cat", f"{volume[0]}:none", status=1).stderr.decode()
    assert "no volume nobody" in portchain("volume", "ls", "nobody", status=1).stderr.decode()


def test_docker_desktops_own_request_is_understood(run_dir: Path, volume: tuple[str, str]) -> None:
    url = f"/volume-file-content?volumeId={volume[0]}&targetPath=%2Fsite%2Findex.html"
    assert request(str(run_dir / "volume-contents.sock"), "GET", url, 5) == (200, b"hello")


def test_it_may_read_and_nothing_else(host: Host, run_dir: Path) -> None:
    pid = host.check_output("pgrep -f ^/usr/bin/python3./usr/bin/volume-contents$")
    assert host.check_output(f"sed -n 's/CapEff:\\t//p' /proc/{pid}/status") == f"{1 << 2:016x}"
    assert "Read-only" in host.run(f"nsenter -t {pid} -m touch /var/lib/docker/volumes/x").stderr
    assert host.check_output(f"ls /proc/{pid}/root/var/lib/docker") == "volumes"
    assert get_json(str(run_dir / "volume-contents.sock"), "/volumes", 5) is not None
