from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from portchain.guest.services.devenv_service import environments as volumes
from portchain.guest.services.devenv_service import fillings
from portchain.guest.services.devenv_service.environments import Environments, Filling, without_password
from portchain.http.server import RequestError


class Engine:
    """Keeps volumes below a folder as the engine does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.volumes: dict[str, dict[str, Any]] = {}

    def ask(self, method: str, url: str, payload: Any = None) -> Any:
        name = url.rpartition("/")[2]
        if method == "POST":
            data = self._folder / payload["Name"] / "_data"
            data.mkdir(parents=True, exist_ok=True)
            made = {"Name": payload["Name"], "Labels": payload["Labels"], "Mountpoint": str(data)}
            return self.volumes.setdefault(payload["Name"], made)
        if url.startswith("/volumes?"):
            label = url.partition("%5B%22")[2].partition("%22%5D")[0]
            key, _, value = label.partition("%3D")
            found = [one for one in self.volumes.values() if key in one["Labels"]]
            return {"Volumes": [one for one in found if value in ("", one["Labels"][key])] or None}
        if name not in self.volumes:
            raise RequestError(HTTPStatus.NOT_FOUND, f"no volume {name}")
        return self.volumes.pop(name) if method == "DELETE" else self.volumes[name]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


def states(environments: Environments) -> dict[str, str]:
    return {row["name"]: row["state"] for row in environments.rows()}


def test_an_environment_is_there_when_it_is_whole(engine: Engine) -> None:
    environments = Environments(engine.ask)
    with environments.filling("web", "git", "https://me:secret@host/x.git") as filling:
        (filling.folder / "file").write_text("hello")
        assert states(environments) == {"web": "filling"}
        assert "web" not in engine.volumes
    assert states(environments) == {"web": "ready"}
    assert list(engine.volumes) == ["web"]
    assert (Path(engine.volumes["web"]["Mountpoint"]) / "file").read_text() == "hello"
    assert "secret" not in str(environments.rows())


def test_one_that_fails_leaves_nothing(engine: Engine) -> None:
    environments = Environments(engine.ask)
    with pytest.raises(OSError, match="full"), environments.filling("web", "git", "x"):
        raise OSError("full")
    assert (states(environments), engine.volumes) == ({}, {})


def test_a_name_is_given_once(engine: Engine) -> None:
    environments = Environments(engine.ask)
    with environments.filling("web", "git", "x"):
        with pytest.raises(RequestError, match="is being filled"), environments.filling("web", "git", "x"):
            pass
        with pytest.raises(RequestError, match="is being filled"):
            environments.remove("web")
    with pytest.raises(RequestError, match="there is a volume web"), environments.filling("web", "git", "x"):
        pass
    environments.remove("web")
    with pytest.raises(RequestError, match="no environment web"):
        environments.remove("web")


def test_a_volume_made_meanwhile_is_kept(engine: Engine) -> None:
    environments = Environments(engine.ask)
    with pytest.raises(RequestError, match="made meanwhile"), environments.filling("web", "git", "x"):
        engine.ask("POST", "/volumes/create", {"Name": "web", "Labels": {}})
    assert list(engine.volumes) == ["web"]


@pytest.mark.parametrize("renamed", [True, False])
def test_what_ended_between_two_steps_is_cleared(engine: Engine, renamed: bool) -> None:
    filled = engine.ask("POST", "/volumes/create", {"Name": "devenv-1", "Labels": {volumes.FILLING: "web"}})
    labels = {volumes.SOURCE: "x", volumes.KIND: "git", "com.docker.dev-environments.filled-in": "devenv-1"}
    made = engine.ask("POST", "/volumes/create", {"Name": "web", "Labels": labels})
    if renamed:
        Path(filled["Mountpoint"]).rename(made["Mountpoint"])
    environments = Environments(engine.ask)
    environments.clear()
    assert states(environments) == ({"web": "ready"} if renamed else {})
    assert list(engine.volumes) == (["web"] if renamed else [])


@pytest.mark.parametrize("name", ["", "a", "../x", "-x", "x/y", "x" * 65, "ä"])
def test_names_are_the_engines(engine: Engine, name: str) -> None:
    with (
        pytest.raises(RequestError, match="cannot name an environment"),
        Environments(engine.ask).filling(name, "git", "x"),
    ):
        pass


@pytest.mark.parametrize(
    "url", ["ssh://host/x", "git@host:x", "/srv/x", "ext::sh -c id", "file:///etc", "-uid", "https://"]
)
def test_git_in_the_guest_is_given_urls_of_servers_alone(url: str) -> None:
    with pytest.raises(RequestError, match="portchain devenv create on the host"):
        fillings.check_url(url)
    fillings.check_url("https://host/x.git")


def test_passwords_are_not_shown() -> None:
    assert without_password("https://me:secret@host/x") == "https://me@host/x"
    assert without_password("https://host:1/x@y") == "https://host:1/x@y"


@pytest.fixture
def filling(tmp_path: Path) -> Filling:
    (tmp_path / "_data").mkdir()
    return Filling("web", "folder", "x", 0.0, "devenv-1", tmp_path / "_data")


def blocks(data: bytes) -> Iterator[bytes]:
    return (data[start : start + 700] for start in range(0, len(data), 700))


def test_an_archive_cannot_reach_out_of_its_folder(filling: Filling, tmp_path: Path) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
        for name in ("../up", "/abs", "out/through", "plain"):
            entry = tarfile.TarInfo(name)
            entry.size = 1
            archive.addfile(entry, io.BytesIO(b"x"))
    with pytest.raises(RequestError, match="guest: tar: "):
        list(fillings.from_tar(filling, blocks(target.getvalue())))
    assert {path.name for path in tmp_path.iterdir()} == {"_data", "scratch"}
    assert (filling.folder / "plain").read_text() == "x"


def test_garbage_is_no_archive(filling: Filling) -> None:
    with pytest.raises(RequestError, match="does not look like a tar archive"):
        list(fillings.from_tar(filling, blocks(b"garbage" * 10_000)))
