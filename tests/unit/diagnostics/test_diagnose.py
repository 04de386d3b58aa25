from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from portchain import cli, daemon
from portchain.guest import manage


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a guest that is defined, and down."""
    for module in (daemon, manage):
        monkeypatch.setattr(module, "STATE", tmp_path / "lib")
    monkeypatch.setattr(daemon, "RUN", tmp_path / "run")
    monkeypatch.setattr(daemon, "LOGS", tmp_path / "log")
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
    assert cli.main(["diagnose", "--guest", "nobody"]) == 1
    assert "no guest 'nobody'" in capsys.readouterr().err
    assert cli.main(["diagnose", "--guest", "web", "-o", str(places / "none/x.zip")]) == 1
    assert f"no folder {places / 'none'}" in capsys.readouterr().err
