"""The clients, and how they are run against the guest."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from probing import Run, cleaned

from portchain.http.blocking_client import get_json

PROJECT = Path(__file__).parents[3]
COMPOSE = PROJECT / ".cache/clients/docker-compose"
DEADLINE = 60.0
# What the probe's image has of Debian's clients; they run on the host from a folder, installed nowhere.
FROM_IMAGE = ("/usr/bin/docker", "/usr/bin/docker-compose", "/usr/lib/python3/dist-packages")


@pytest.fixture(scope="session")
def debians(engine: docker.DockerClient, image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Debian's docker, docker-compose and the latter's Python packages, taken out of the image."""
    folder = tmp_path_factory.mktemp("debian")
    container = engine.containers.create(image)
    for path in FROM_IMAGE:
        chunks, _ = container.get_archive(path, chunk_size=1 << 20)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            archive.extraction_filter = lambda member, _folder: member  # not by argument: Debian 12's Python has none
            archive.extractall(folder)
    container.remove()
    return folder


def states(run_dir: Path) -> str:
    """The engine's own view of its containers, or why it has none: whether it or docker.sock keeps a client waiting."""
    socket = str(run_dir / "engine.sock")
    try:
        rows = get_json(socket, "/containers/json?all=1", 5)
        found = [get_json(socket, f"/containers/{row['Id']}/json", 5) for row in rows]
    except OSError as error:
        return str(error)
    return "\n".join(f"{container['Name']} {container['State']}" for container in found)


def runner(command: list[str], run_dir: Path, home: Path, **more: str) -> Run:
    """Runs a client against the guest's docker.sock, with a home of its own; ``env`` adds to its environment."""
    environment = {**os.environ, "DOCKER_HOST": f"unix://{run_dir}/docker.sock", "HOME": str(home), **more}

    def run(
        *words: str, rc: int | None = 0, text: str = "", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        try:
            done = subprocess.run(
                [*command, *words],
                env=environment | (env or {}),
                input=text,
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise AssertionError(f"{command} {words} did not end; the engine says\n{states(run_dir)}") from late
        assert rc is None or done.returncode == rc, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done

    return run


@pytest.fixture(scope="session", params=["20.10", "installed"])
def cli_path(request: pytest.FixtureRequest, debians: Path) -> str:
    """The docker command: Debian's 20.10, and whichever is on the path."""
    path = str(debians / "docker") if request.param == "20.10" else shutil.which("docker")
    if not path:
        pytest.skip("no docker on the path: Debian's alone is tried")
    return path


@pytest.fixture
def cli(cli_path: str, engine: docker.DockerClient, run_dir: Path, tmp_path: Path) -> Iterator[Run]:
    """Runs the docker command; what it made is removed afterwards."""
    with cleaned(engine):
        yield runner([cli_path], run_dir, tmp_path)


@pytest.fixture(params=["1.29", "2.40"])
def compose(
    request: pytest.FixtureRequest, debians: Path, engine: docker.DockerClient, run_dir: Path, tmp_path: Path
) -> Iterator[Run]:
    """Runs docker-compose 1 and docker compose 2; what they made is removed afterwards."""
    command, more = [str(COMPOSE)], {}
    if request.param == "1.29":
        command = ["/usr/bin/python3", str(debians / "docker-compose")]
        more["PYTHONPATH"] = str(debians / "dist-packages")
        more["PATH"] = f"{debians}:{os.environ['PATH']}"  # of the docker command it makes exec and run
    with cleaned(engine):
        yield runner([*command, "--project-name", "fleet"], run_dir, tmp_path, **more)
