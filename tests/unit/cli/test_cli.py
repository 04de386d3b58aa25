from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from portchain import cli
from portchain.cli import common, manual_forwards, trace
from portchain.host import guests
from portchain.linux import service_manager
from portchain.ports.forward import Forward
from portchain.trace.chain import Trace
from portchain.trace.model import Guest, Host, Machine, NetworkNamespace


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with one guest that is defined, but down."""
    monkeypatch.setattr(service_manager, "RUN", tmp_path / "run")
    monkeypatch.setattr(guests, "STATE", tmp_path / "state")
    (tmp_path / "state/linuxkit").mkdir(parents=True)
    (tmp_path / "state/linuxkit/guest.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("count", "text"), [(None, "-"), (0, "0 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (3 << 40, "3072.0 GiB")]
)
def test_sizes_are_for_people(count: int | None, text: str) -> None:
    assert common.format_size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(None, "-"), (5.4, "5s"), (65, "1m 5s"), (12000, "3h 20m")])
def test_durations_are_for_people(seconds: float | None, text: str) -> None:
    assert common.format_duration(seconds) == text


def test_status_is_1_where_the_guest_is_down(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["name"], found["state"], found["pid"]) == ("linuxkit", "stopped", None)


@pytest.mark.parametrize(("error", "status"), [("", 0), ("guest linuxkit: no answer", 1)])
def test_a_guest_that_does_not_tell_is_no_success(monkeypatch: pytest.MonkeyPatch, error: str, status: int) -> None:
    guest = None if error else Guest(0.0, NetworkNamespace())
    seen = Machine(Host("linuxkit", "running", None), guest, error), Trace("linuxkit", "8080", 0.0, ())
    monkeypatch.setattr(trace, "collect_trace", lambda *_asked: seen)
    assert cli.main(["trace", "8080"]) == status


@pytest.mark.parametrize(
    "words", [["ps"], ["trace", "8080"], ["report"], ["dashboard"], ["shell"], ["logs"], ["ps", "--guest", "linuxkit"]]
)
def test_anothers_guest_is_said_to_be_theirs(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    door = machine / "run/linuxkit/control.sock"
    door.parent.mkdir(parents=True)
    door.touch()
    monkeypatch.setattr(os, "access", lambda path, _mode: path != door)
    assert cli.main(words) == 1
    assert f"guest linuxkit is {door.owner()}'s alone: run this as {door.owner()}" in capsys.readouterr().err


def test_ones_own_guests_are_listed_beside_anothers(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "state/other").mkdir()
    (machine / "state/other/guest.json").write_text("{}")
    door = machine / "run/other/control.sock"
    door.parent.mkdir(parents=True)
    door.touch()
    monkeypatch.setattr(os, "access", lambda path, _mode: path != door)
    assert common.accessible_guests(None) == ["linuxkit"]


def test_status_is_1_where_there_is_no_guest(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (machine / "state/linuxkit/guest.json").unlink()
    assert cli.main(["status"]) == 1
    assert capsys.readouterr() == ("", "portchain: host: no guest is defined: make up\n")
    assert cli.main(["status", "--json"]) == 1
    assert capsys.readouterr() == ("[]\n", "")


def test_ps_is_1_where_there_is_no_guest(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (machine / "state/linuxkit/guest.json").unlink()
    assert cli.main(["ps"]) == 1
    assert capsys.readouterr() == ("", "portchain: host: no guest is defined: make up\n")
    assert cli.main(["ps", "--json"]) == 0
    assert capsys.readouterr() == ("[]\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["status", "--guest", "linuxki"], "no guest 'linuxki'; there are: linuxkit"),
        (["ps"], "no answer from the forwarder of guest linuxkit"),
        (["shell"], "guest linuxkit: stopped; portchain up --guest linuxkit"),
        (["logs", "--tail", "5"], "guest linuxkit: stopped; portchain up --guest linuxkit"),
        (["forward", "add", ":8081", "127.0.0.1:8080"], "no answer from the forwarder"),
        (["trace", "192.0.2.7:8080"], "192.0.2.7 is no address of this machine"),
    ],
)
def test_what_is_not_so_is_1_with_the_way_out(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [[], ["statu"], ["status", "--colour"], ["forward", "add", ":8081"], ["logs", "--tail=-1"], ["trace", "0"]]
)
def test_wrong_use_is_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2


def test_a_forward_by_hand_may_be_of_any_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Forward] = []
    monkeypatch.setattr(manual_forwards, "expose", lambda _control, added: asked.append(added))
    ends = ("127.0.0.1:5353", "127.0.0.1:53")
    assert cli.main(["forward", "add", "udp::5353", "127.0.0.1:53"]) == 0
    assert cli.main(["forward", "add", "--protocol", "udp", *ends]) == 0
    assert cli.main(["forward", "add", *ends, "--proxy-protocol", "v2"]) == 0
    assert cli.main(["forward", "add", "--protocol", "udp", *ends, "--proxy-protocol", "v2"]) == 2
    assert asked == [
        Forward.parse("udp::5353", "udp:127.0.0.1:53"),
        Forward.parse(*ends, "udp"),
        Forward.parse(*ends, proxy_protocol="v2"),
    ]


def test_an_address_that_cannot_be_read_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["forward", "add", "8081", "127.0.0.1:8080"]) == 2
    assert "expected address:port" in capsys.readouterr().err


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_is_there_and_says_what_its_function_says(name: str) -> None:
    command = cli.load_command(name)
    assert cli.COMMANDS[name].text == (command.run.__doc__ or "").splitlines()[0]


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["--help"])
    assert left.value.code == 0
    listed = capsys.readouterr().out
    assert all(f"\n    {name}" in listed for name in cli.COMMANDS)


def test_a_command_loads_no_other_and_no_more_than_it_needs() -> None:
    code = "import sys; from portchain import cli; cli.make_parser().parse_args(['ps']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "portchain.cli.ps" in loaded
    assert not {"portchain.cli.devenv", "rich", "yaml"} & set(loaded)
