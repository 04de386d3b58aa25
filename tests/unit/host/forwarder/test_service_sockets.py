from __future__ import annotations

import os
from pathlib import Path

import pytest

from portchain.host.forwarder.service_sockets import ServiceSockets
from portchain.host.forwarder.table import ForwardTable


def listening(table: ForwardTable) -> list[str]:
    return sorted(Path(entry.forward.listen.address).name for entry in table)


def replace(file: Path, text: str) -> None:
    fresh = file.with_name("fresh")
    fresh.write_text(text)
    fresh.replace(file)


def test_sockets_follow_the_file(tmp_path: Path) -> None:
    table = ForwardTable(os.getuid(), lambda _name: None)
    file = tmp_path / "host-sockets.json"
    sockets = ServiceSockets(file, tmp_path, table)
    sockets.follow()
    assert listening(table) == []
    replace(file, '{"ssh": "unix:/run/guest-services/ssh.sock", "old": "unix:/run/guest-services/old.sock"}')
    sockets.follow()
    assert listening(table) == ["old.sock", "ssh.sock"]
    assert (tmp_path / "ssh.sock").is_socket()
    kept = (tmp_path / "ssh.sock").stat().st_ino
    replace(file, '{"ssh": "unix:/run/guest-services/ssh.sock", "new": "tcp:127.0.0.1:1080"}')
    sockets.follow()
    assert listening(table) == ["new.sock", "ssh.sock"]
    assert (tmp_path / "ssh.sock").stat().st_ino == kept
    assert not (tmp_path / "old.sock").exists()
    table.close()


def test_a_damaged_file_leaves_the_sockets_and_a_missing_one_closes_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = ForwardTable(os.getuid(), lambda _name: None)
    file = tmp_path / "host-sockets.json"
    replace(file, '{"ssh": "unix:/run/guest-services/ssh.sock"}')
    sockets = ServiceSockets(file, tmp_path, table)
    sockets.follow()
    replace(file, "{")
    for _ in range(3):
        sockets.follow()
    assert listening(table) == ["ssh.sock"]
    assert len(caplog.records) == 1
    file.unlink()
    sockets.follow()
    assert listening(table) == []
    table.close()
