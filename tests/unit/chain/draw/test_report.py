"""The command that writes the page."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from portchain.chain.model import Machine
from portchain.chain.read_guest import EvidenceError
from portchain.chain.walk import trace_all
from portchain.cli import main, report

from .machines import big, seed


def looking_at(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    """Have the command see this machine."""
    monkeypatch.setattr(report, "entered", lambda guest: [guest])
    monkeypatch.setattr(report, "Session", nullcontext)
    monkeypatch.setattr(report, "trace_machine", lambda _session: (machine, trace_all(machine)))


def test_a_whole_machine_has_its_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    looking_at(monkeypatch, seed())
    monkeypatch.chdir(tmp_path)
    assert main(["report"]) == 0
    assert capsys.readouterr().out == "portchain-linuxkit.html\n"
    page = tmp_path / "portchain-linuxkit.html"
    assert page.read_text().startswith("<!doctype html>")
    assert page.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == [page.name]


def test_what_is_broken_is_told_by_the_exit_status_and_as_json(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    looking_at(monkeypatch, big())
    file = tmp_path / "page.html"
    file.write_text("the one before")
    assert main(["report", "--json", "-o", str(file)]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told == {"file": str(file), "broken": [":1143", ":1993", ":2525", ":3011", ":5432", ":9200"]}
    assert "dnat-missing" in file.read_text()


def test_a_guest_that_does_not_tell_is_no_success(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    looking_at(monkeypatch, replace(seed(), guest=None, guest_error="no answer"))
    assert main(["report", "-o", str(tmp_path / "page.html")]) == 1


def test_a_page_that_has_no_place_is_said_to_have_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    looking_at(monkeypatch, seed())
    place = tmp_path / "none" / "page.html"
    assert main(["report", "-o", str(place)]) == 1
    assert capsys.readouterr().err == f"portchain: host: no folder {place.parent} to put page.html in\n"


def test_evidence_that_is_not_to_be_had_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def silent(_session: None) -> None:
        raise EvidenceError("guest linuxkit: evidence.sock is silent")

    looking_at(monkeypatch, seed())
    monkeypatch.setattr(report, "trace_machine", silent)
    assert main(["report", "-o", str(tmp_path / "page.html")]) == 1
    assert "evidence.sock is silent" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
