from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from portchain import cli
from portchain.host import guests
from portchain.linux import service_manager


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a guest that is defined, and down."""
    for module in (service_manager, guests):
        monkeypatch.setattr(module, "STATE", tmp_path / "lib")
    monkeypatch.setattr(service_manager, "RUN", tmp_path / "run")
    monkeypatch.setattr(service_manager, "LOGS", tmp_path / "log")
    (tmp_path / "lib/web").mkdir(parents=True)
    (tmp_path / "lib/web/guest.json").write_text('{"name": "web", "proxy_password": "hunter2"}')
    return tmp_path


def test_a_guest_that_is_down_has_a_bundle_as_well(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = places / "out.tar.gz"
    assert cli.main(["diagnose", "--guest", "web", "--json", "-o", str(target)]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert "diagnostics" in notes["guest"] or "No such file" in notes["guest"]
    with tarfile.open(target) as archive:
        files = {member.name.split("/", 1)[1]: archive.extractfile(member) for member in archive}
        index, kept = files["index.html"], files["host/config/guest.json"]
        assert index and b"the guest gave nothing more" in index.read()
        assert kept and json.loads(kept.read()) == {"name": "web", "proxy_password": "***"}


def test_what_cannot_be_gathered_for_or_written_to_is_said_first(
    places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["diagnose", "--guest", "web", "-o", str(places / "none/x.zip")]) == 1
    assert f"no folder {places / 'none'}" in capsys.readouterr().err


def test_a_folder_gets_the_archive_under_its_own_name(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diagnose", "--guest", "web", "-o", str(places / "lib")]) == 0
    (made,) = (places / "lib").glob("portchain-web-*.tar.gz")
    assert capsys.readouterr().out == f"{made}\n"


def test_the_archive_is_printed_and_nothing_else(places: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert cli.main(["diagnose", "--guest", "web", "-o", "-"]) == 0
    with tarfile.open(fileobj=io.BytesIO(capfdbinary.readouterr().out)) as archive:
        assert any(name.endswith("/index.html") for name in archive.getnames())


@pytest.mark.parametrize("name", ["x.rar", "x.tar", "x.tar.xz", "x"])
def test_an_archive_of_another_kind_is_refused_first(
    places: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert cli.main(["diagnose", "--guest", "web", "-o", str(places / name)]) == 2
    said = capsys.readouterr().err
    assert f"{name}: the archive's name is to end with one of .tar.gz, .tgz, .zip" in said
    assert len(said.splitlines()) == 1
