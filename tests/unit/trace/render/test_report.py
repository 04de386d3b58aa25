"""The command that writes the page."""

from __future__ import annotations

import json
from argparse import Namespace
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from portchain.cli import main, output, report
from portchain.cli.common import CommandError
from portchain.host import guests
from portchain.linux import service_manager
from portchain.trace.judge.chains import trace_all
from portchain.trace.model import Machine
from portchain.trace.parse.guest_evidence import EvidenceError
from support.machines import big, seed


def looking_at(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    """Have the command see this machine."""
    monkeypatch.setattr(guests, "guest_names", lambda: ["linuxkit"])
    monkeypatch.setattr(service_manager, "RUN", Path("/nowhere"))
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
    broken = [":1143", ":1993", ":2525", ":3011", ":5432", ":9200"]
    assert told == {"file": str(file), "broken": broken, "unpublished": []}
    assert "dnat-missing" in file.read_text()


def test_a_guest_that_does_not_tell_is_no_success(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    looking_at(monkeypatch, replace(seed(), guest=None, guest_error="no answer"))
    assert main(["report", "-o", str(tmp_path / "page.html")]) == 1


def test_a_folder_gets_the_page_under_its_own_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    looking_at(monkeypatch, seed())
    assert main(["report", "-o", str(tmp_path)]) == 0
    assert [one.name for one in tmp_path.iterdir()] == ["portchain-linuxkit.html"]


def test_the_page_is_printed_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    looking_at(monkeypatch, seed())
    assert main(["report", "-o", "-"]) == 0
    printed = capfdbinary.readouterr().out
    assert printed.startswith(b"<!doctype html>")
    assert printed.rstrip().endswith(b"</html>")


@pytest.mark.parametrize(
    ("place", "status", "message"),
    [
        ("{}/none/page.html", 1, "host: no folder {}/none to put page.html in"),
        ("{}/none/", 1, "host: no folder {}/none to put portchain-linuxkit.html in"),
        ("{}/" + "x" * 300, 1, "File name too long"),
        ("", 2, "host: --output '' names no file"),
    ],
)
def test_a_page_that_cannot_be_where_it_is_to_be(tmp_path: Path, place: str, status: int, message: str) -> None:
    with pytest.raises(CommandError, match=message.format(tmp_path)) as raised:
        output.output_path(Namespace(output=place.format(tmp_path), json=False), "portchain-linuxkit.html")
    assert raised.value.status == status


def test_a_page_and_json_are_not_both_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    looking_at(monkeypatch, seed())
    assert main(["report", "-o", "-", "--json"]) == 2


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
