"""Development environments: volumes filled from git or a folder, whole or not at all."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from testinfra.host import Host

from portchain.http.blocking_client import get_json
from support.host_ports import free_port
from support.waiting import eventually

Portchain = Callable[..., "subprocess.CompletedProcess[bytes]"]
IDENTITY = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``work``, a repository with two branches, and ``project.git``, a bare one of the same."""
    folder = tmp_path_factory.mktemp("repositories")
    work = folder / "work"
    git(folder, "init", "--quiet", "--initial-branch=main", "work")
    for branch in ("main", "feature"):
        if branch != "main":
            git(work, "switch", "--quiet", "--create", branch)
        (work / "branch").write_text(branch)
        (work / "run").write_text("#!/bin/sh\n")
        (work / "run").chmod(0o755)
        git(work, "add", ".")
        git(work, *IDENTITY, "commit", "--quiet", "--message", branch)
    git(work, "switch", "--quiet", "main")
    git(folder, "clone", "--quiet", "--bare", "work", "project.git")
    return folder


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, timeout=30)


@pytest.fixture(scope="module")
def served(repositories: Path) -> Iterator[str]:
    """The URL, from inside, of what a git daemon on the host's loopback offers."""
    port = free_port()
    command = ["git", "daemon", "--export-all", f"--base-path={repositories}", "--listen=127.0.0.1", f"--port={port}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as daemon:
        eventually(lambda: connects(port), "git daemon")
        yield f"git://host.docker.internal:{port}"
        os.killpg(daemon.pid, 15)


def connects(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def devenv(portchain: Portchain, engine: docker.DockerClient) -> Iterator[Portchain]:
    """Runs portchain devenv; environments are removed afterwards, and no volume may be left."""
    before = names(engine)
    yield lambda *words, **more: portchain("devenv", *words, **more)
    for row in json.loads(portchain("devenv", "--json", "ls").stdout):
        portchain("devenv", "rm", row["name"])
    assert names(engine) == before


def names(engine: docker.DockerClient) -> list[str]:
    return sorted(volume.name for volume in engine.volumes.list())


def rows(devenv: Portchain) -> dict[str, tuple[str, str]]:
    """State and kind of each."""
    return {row["name"]: (row["state"], row["kind"]) for row in json.loads(devenv("--json", "ls").stdout)}


@pytest.fixture
def in_container(portchain: Portchain, engine: docker.DockerClient, image: str) -> Callable[[str, str], str]:
    """What a shell prints that has a volume as its folder.

    Through a file in the volume: Docker's SDK loses what comes in one piece with the engine's head.
    """

    def run(volume: str, script: str) -> str:
        mounts = {volume: {"bind": "/work", "mode": "rw"}}
        words: dict[str, Any] = {"entrypoint": ["sh", "-c"], "volumes": mounts, "working_dir": "/work", "remove": True}
        engine.containers.run(image, [f"({script}) >.printed"], **words)
        return str(portchain("volume", "cat", f"{volume}:.printed").stdout.decode().strip())

    return run


def test_from_a_repository_on_the_hosts_loopback(
    devenv: Portchain, served: str, engine: docker.DockerClient, in_container: Callable[[str, str], str]
) -> None:
    done = devenv("create", "project", f"{served}/project.git")
    assert b"Receiving objects" in done.stderr
    assert rows(devenv) == {"project": ("ready", "git")}
    found = in_container("project", "cat branch .git/HEAD; stat -c %U:%a run; cat .git/config")
    assert found.startswith("mainref: refs/heads/main\nroot:755\n")
    assert f"url = {served}/project.git" in found
    assert (
        engine.volumes.get("project").attrs["Labels"]["com.docker.dev-environments.source"] == f"{served}/project.git"
    )


def test_another_branch(devenv: Portchain, served: str, in_container: Callable[[str, str], str]) -> None:
    devenv("create", "project", f"{served}/project.git", "--branch", "feature")
    assert in_container("project", "cat branch") == "feature"


def test_a_repository_of_the_host_is_fetched_by_the_hosts_git(
    devenv: Portchain, repositories: Path, in_container: Callable[[str, str], str]
) -> None:
    devenv("create", "bare", str(repositories / "project.git"))
    devenv("create", "url", (repositories / "work").as_uri(), "--branch", "feature")
    assert rows(devenv) == {"bare": ("ready", "git"), "url": ("ready", "git")}
    assert in_container("bare", "cat branch; ls .git/refs/remotes") == "mainorigin"
    assert in_container("url", "cat branch") == "feature"


def test_from_a_folder_of_the_host_as_it_is(
    devenv: Portchain, tmp_path: Path, in_container: Callable[[str, str], str]
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/tool").write_text("new")
    (tmp_path / "sub/tool").chmod(0o4750)
    (tmp_path / "link").symlink_to("sub/tool")
    (tmp_path / "sub").chmod(0o555)
    done = devenv("create", "folder", str(tmp_path))
    assert rows(devenv) == {"folder": ("ready", "folder")}, done.stderr
    found = in_container("folder", "cat link; stat -c ' %U:%G:%a' sub sub/tool .; echo more >sub/tool")
    assert found.split() == ["new", "root:root:555", "root:root:750", "root:root:755"]


def test_failures_say_which_side_and_leave_nothing(devenv: Portchain, served: str, tmp_path: Path) -> None:
    def complaint(*words: str, status: int = 1) -> str:
        return devenv("create", *words, status=status).stderr.decode().splitlines()[-1]

    assert "portchain: guest: git: fatal: " in complaint("one", f"{served}/nothing.git")
    assert "branch nowhere not found" in complaint("one", f"{served}/project.git", "--branch", "nowhere")
    assert "portchain: host: /nowhere: no such folder" in complaint("one", "/nowhere")
    assert "host: fatal: " in devenv("create", "one", f"file://{tmp_path}/x", status=1).stderr.decode()
    assert "is no name: 2 to 64 letters" in complaint("a", f"{served}/project.git", status=2)
    assert rows(devenv) == {}
    devenv("create", "one", f"{served}/project.git")
    assert "there is an environment one" in complaint("one", f"{served}/project.git")


def test_a_volume_of_that_name_is_left_alone(devenv: Portchain, served: str, engine: docker.DockerClient) -> None:
    volume = engine.volumes.create("mine")
    try:
        assert b"there is a volume mine" in devenv("create", "mine", f"{served}/project.git", status=1).stderr
        assert b"no environment mine" in devenv("rm", "mine", status=1).stderr
        assert engine.volumes.get("mine").attrs["Labels"] in (None, {})
    finally:
        volume.remove()


def test_one_in_use_is_not_removed(devenv: Portchain, served: str, engine: docker.DockerClient, image: str) -> None:
    devenv("create", "used", f"{served}/project.git")
    user = engine.containers.create(image, volumes={"used": {"bind": "/work", "mode": "rw"}})
    try:
        assert b"volume is in use" in devenv("rm", "used", status=1).stderr
    finally:
        user.remove()


@pytest.fixture
def half_sent(run_dir: Path) -> Iterator[socket.socket]:
    """A client that has sent half of an archive."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(run_dir / "devenv-service.sock"))
        head = (
            "PUT /environments/half?source=x HTTP/1.1\r\nContent-Type: application/x-tar\r\nContent-Length: 99999\r\n"
        )
        client.sendall(f"{head}\r\n".encode() + bytes(1024))
        service = str(run_dir / "devenv-service.sock")
        eventually(
            lambda: [row["state"] for row in get_json(service, "/environments", 5)] == ["filling"], "the filling"
        )
        yield client


def test_half_a_filling_is_never_there(
    devenv: Portchain, half_sent: socket.socket, engine: docker.DockerClient
) -> None:
    assert rows(devenv) == {"half": ("filling", "folder")}
    assert "half" not in names(engine)
    assert b"is being filled" in devenv("rm", "half", status=1).stderr
    half_sent.close()
    eventually(lambda: not rows(devenv), "the filling to end")


def test_what_a_killed_service_was_filling_is_cleared_away(
    half_sent: socket.socket, host: Host, engine: docker.DockerClient
) -> None:
    filling: list[str] = []

    def begun() -> bool:
        filling[:] = [name for name in names(engine) if name.startswith("devenv-")]
        return len(filling) == 1

    eventually(begun, "the volume that is being filled")
    host.check_output("ctr -n services.linuxkit task kill -s SIGKILL devenv-service")
    eventually(lambda: filling[0] not in names(engine), "what was half filled to go")
