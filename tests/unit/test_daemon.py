"""A host daemon's definition."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from portchain import daemon
from portchain.daemon import Daemon

EXAMPLE = Daemon("forwarder", "my-guest", ("/bin/echo", "two words", "100%"), {"A": 'quote " and $HOME'}, "v1")


def test_a_unit_escapes_what_systemd_would_replace() -> None:
    lines = daemon.unit_text(EXAMPLE).splitlines()
    assert r'Environment="A=quote \" and $HOME"' in lines
    assert 'ExecStart="/bin/echo" "two words" "100%%"' in lines


def test_a_unit_that_systemd_understands(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd here")
    unit = tmp_path / EXAMPLE.unit
    unit.write_text(daemon.unit_text(EXAMPLE))
    checked = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert checked.stderr == ""
    assert checked.returncode == 0


def test_the_runit_script_runs_what_was_asked_for() -> None:
    script = daemon.runit_files(EXAMPLE)["run"].replace("exec /bin/echo", 'exec /usr/bin/printf "%s\\n" "$A"')
    shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines() == ['quote " and $HOME', "two words", "100%"]


def test_guests_are_known_by_their_daemons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "RUN", tmp_path / "run")
    monkeypatch.setattr(daemon, "_UNITS", tmp_path / "units")
    (tmp_path / "run" / "a" / "sv" / "guest").mkdir(parents=True)
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "portchain-b-c-forwarder.service").touch()
    assert daemon.guests() == {"a", "b-c"}


def test_leftovers_go_and_so_do_empty_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(daemon, "RUN", run)
    kept, gone = run / "kept", run / "gone" / "deep"
    kept.mkdir(parents=True)
    gone.mkdir(parents=True)
    (kept / "other").touch()
    (kept / "one").touch()
    assert daemon.remove_leftovers([kept / "one", gone / "never-there"])
    assert not daemon.remove_leftovers([kept / "one"])
    assert [p.name for p in run.iterdir()] == ["kept"]
