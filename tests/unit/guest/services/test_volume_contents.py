from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from portchain.guest.service_socket import listen
from portchain.guest.services.volume_contents.volume_contents import Volumes, route_requests
from portchain.http.blocking_client import request
from portchain.http.server import HttpService

Get = Callable[..., tuple[int, bytes]]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """The folder of the volume ``web``; beside it another, and above it a secret."""
    (tmp_path / "secret").write_text("out of reach")
    (tmp_path / "volumes/other/_data").mkdir(parents=True)
    (tmp_path / "volumes/other/_data/secret").write_text("another's")
    folder = tmp_path / "volumes/web/_data"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def get(volume: Path, tmp_path: Path) -> Iterator[Get]:
    """Asks the service; ``route``, then the words of the query."""
    server = HttpService(listen(tmp_path / "sock"), route_requests(Volumes(tmp_path / "volumes")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def ask(route: str, **words: str) -> tuple[int, bytes]:
        query = urlencode(words, errors="surrogateescape")
        return request(str(tmp_path / "sock"), "GET", f"/{route}?{query}", 10)

    yield ask
    server.close()
    thread.join()


def test_a_folder_lists_its_entries(get: Get, volume: Path) -> None:
    (volume / "index.html").write_text("hello")
    (volume / "index.html").chmod(0o640)
    (volume / "css").mkdir()
    (volume / "link").symlink_to("index.html")
    os.mkfifo(volume / "pipe")
    status, body = get("volume-files", volumeId="web")
    assert status == 200
    found = {row["name"]: row for row in json.loads(body)}
    assert {name: row["type"] for name, row in found.items()} == {
        "index.html": "file",
        "css": "directory",
        "link": "symlink",
        "pipe": "fifo",
    }
    assert found["index.html"]["size"] == 5
    assert found["index.html"]["mode"] == "-rw-r-----"
    assert found["index.html"]["modified"] == (volume / "index.html").stat().st_mtime
    assert found["link"]["target"] == "index.html"


def test_a_file_is_read_whole_and_through_links_within(get: Get, volume: Path) -> None:
    data = os.urandom(3_000_000)
    (volume / "sub").mkdir()
    (volume / "sub/big").write_bytes(data)
    (volume / "sub/up").symlink_to("../sub/big")
    for path in ("sub/big", "/sub/big", "sub/../sub/up"):
        assert get("volume-file-content", volumeId="web", targetPath=path) == (200, data)


@pytest.mark.parametrize(
    "path", ["../../../secret", "/../../../secret", "sub/../../../other/_data/secret", "out", "up"]
)
def test_what_leads_out_of_the_volume_is_refused(get: Get, volume: Path, tmp_path: Path, path: str) -> None:
    (volume / "sub").mkdir()
    (volume / "out").symlink_to(tmp_path / "secret")
    (volume / "up").symlink_to("../../other/_data/secret")
    for route in ("volume-file-content", "volume-files"):
        status, body = get(route, volumeId="web", targetPath=path)
        assert status == 403
        assert "leads out of the volume" in json.loads(body)["message"]


@pytest.mark.parametrize("name", ["", ".", "..", "../secret", "web/_data", "a/../../secret"])
def test_a_volume_is_named_and_nothing_else(get: Get, name: str) -> None:
    assert get("volume-files", volumeId=name)[0] == 400


def test_a_volumes_own_folder_is_not_followed_elsewhere(get: Get, tmp_path: Path) -> None:
    (tmp_path / "volumes/fake").mkdir()
    (tmp_path / "volumes/fake/_data").symlink_to("../other/_data")
    assert get("volume-files", volumeId="fake")[0] == 404


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ({"volumeId": "nobody"}, 404),
        ({"volumeId": "web", "targetPath": "nothing"}, 404),
        ({"volumeId": "web", "targetPath": "a\0b"}, 400),
        ({"volumeId": "web", "targetPath": "x" * 300}, 400),
        ({"volumeId": "web", "targetPath": "round"}, 403),
        ({"volumeId": "web", "targetPath": "/"}, 409),
        ({"volumeId": "web", "targetPath": "pipe"}, 409),
        ({}, 400),
    ],
)
def test_what_cannot_be_read_is_said(get: Get, volume: Path, words: dict[str, str], status: int) -> None:
    os.mkfifo(volume / "pipe")
    (volume / "round").symlink_to("round")
    found, body = get("volume-file-content", **words)
    assert (found, json.loads(body)["message"][:6]) == (status, "guest:")


def test_names_are_bytes(get: Get, volume: Path) -> None:
    (volume / os.fsdecode(b"caf\xe9")).write_text("latin")
    name = json.loads(get("volume-files", volumeId="web")[1])[0]["name"]
    assert get("volume-file-content", volumeId="web", targetPath=name) == (200, b"latin")


def test_a_folder_of_thousands(get: Get, volume: Path) -> None:
    (volume / "0000").touch()
    for number in range(1, 3000):
        (volume / f"{number:04}").hardlink_to(volume / "0000")
    names = [row["name"] for row in json.loads(get("volume-files", volumeId="web")[1])]
    assert sorted(names) == [f"{number:04}" for number in range(3000)]


def test_an_empty_folder_and_the_volumes(get: Get) -> None:
    assert json.loads(get("volume-files", volumeId="web")[1]) == []
    assert [row["name"] for row in json.loads(get("volumes")[1])] == ["other", "web"]
    assert get("anything")[0] == 404
