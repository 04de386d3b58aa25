from __future__ import annotations

import os
from pathlib import Path

import pytest

from portchain.host.drivers.namespace.gateway import SILENCE_SECONDS, AccessPolicy, HostAccessFile
from portchain.host.host_access import HostAccess


def test_ports_and_ranges_are_allowed_and_no_others() -> None:
    policy = HostAccess.parse(["5432", "8000-8100"])
    allowed = [port for port in (1, 5431, 5432, 5433, 7999, 8000, 8100, 8101, 65535) if policy.allows(port)]
    assert allowed == [5432, 8000, 8100]
    assert str(policy) == "5432, 8000-8100"
    assert HostAccess.load(policy.dump()) == policy


def test_an_empty_list_allows_nothing() -> None:
    policy = HostAccess.parse([])
    assert not any(policy.allows(port) for port in range(65536))
    assert str(policy) == "nothing"


@pytest.mark.parametrize(
    ("words", "message"),
    [(["80", "8o"], "'8o': not a port"), (["90-80"], "ends before it begins"), (["0"], "1-65535"), ([""], "1-65535")],
)
def test_what_is_no_port_is_refused_by_name(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HostAccess.parse(words)


def test_the_file_is_read_again_when_it_is_another(tmp_path: Path) -> None:
    path = tmp_path / "host-access.json"
    path.write_text(HostAccess.parse(["80"]).dump())
    policy = HostAccessFile(path, "g")
    assert policy.current().allows(80)
    new = tmp_path / "new"
    new.write_text(HostAccess.parse(["81"]).dump())
    new.rename(path)
    assert not policy.current().allows(80)
    assert policy.current().allows(81)


@pytest.mark.parametrize("text", [None, "", "{}", '["x"]', "5"])
def test_nothing_is_allowed_while_the_file_cannot_be_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str | None
) -> None:
    path = tmp_path / "host-access.json"
    path.write_text(HostAccess.parse(["80"]).dump())
    policy = HostAccessFile(path, "g")
    assert policy.current().allows(80)
    path.unlink()
    if text is not None:
        path.write_text(text)
        os.utime(path, (1, 1))
    for _ in range(2):
        assert str(policy.current()) == "nothing"
    assert "guest g: no port of the host is allowed" in capfd.readouterr().err


def test_a_refusal_names_the_rule_and_is_not_repeated_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    path = tmp_path / "host-access.json"
    path.write_text(HostAccess.parse(["8000-8100"]).dump())
    access_policy = AccessPolicy("g", HostAccessFile(path, "g"), lambda: now)
    said = "guest g: a connection to host port 5432 is refused: guest_host_access allows 8000-8100\n"
    assert access_policy.allows(8000)
    assert not access_policy.allows(5432)
    assert capfd.readouterr().err == said
    assert not access_policy.allows(5432)
    assert capfd.readouterr().err == ""
    assert not access_policy.allows(5433, "datagram")
    assert capfd.readouterr().err == said.replace("5432", "5433").replace("connection", "datagram")
    now += SILENCE_SECONDS
    assert not access_policy.allows(5432)
    assert capfd.readouterr().err == said
