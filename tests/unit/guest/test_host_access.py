from __future__ import annotations

import os
from pathlib import Path

import pytest

from portchain.guest.host_access import SILENCE_SECONDS, Doorkeeper, PolicyFile
from portchain.guest.host_access_policy import HostAccess
from portchain.guest.host_names import hosts_for_guest, nameservers


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
    policy = PolicyFile(path, "g")
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
    policy = PolicyFile(path, "g")
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
    doorkeeper = Doorkeeper("g", PolicyFile(path, "g"), lambda: now)
    said = "guest g: a connection to host port 5432 is refused: guest_host_access allows 8000-8100\n"
    assert doorkeeper.allows(8000)
    assert not doorkeeper.allows(5432)
    assert capfd.readouterr().err == said
    assert not doorkeeper.allows(5432)
    assert capfd.readouterr().err == ""
    assert not doorkeeper.allows(5433, "datagram")
    assert capfd.readouterr().err == said.replace("5432", "5433").replace("connection", "datagram")
    now += SILENCE_SECONDS
    assert not doorkeeper.allows(5432)
    assert capfd.readouterr().err == said


HOSTS = """# a comment
127.0.0.1 localhost
127.0.1.1 laptop.example laptop # itself
::1 localhost ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
fe00::0 ip6-localnet
fe80::1%lo0 link
0.0.0.0 nowhere.example
not-an-address broken
10.0.0.5
10.1.2.3\tdb.example db
2001:db8::7 six.example
127.0.0.1 app.localhost app.test
"""


def test_names_of_the_hosts_loopback_lead_to_the_gateway() -> None:
    assert hosts_for_guest(HOSTS, "192.168.65.2") == (
        "192.168.65.2 laptop.example laptop\n"
        "fe00::0 ip6-localnet\n"
        "10.1.2.3 db.example db\n"
        "2001:db8::7 six.example\n"
        "192.168.65.2 app.test\n"
    )


def test_name_servers_are_read_as_the_resolver_reads_them() -> None:
    text = "# nameserver 10.0.0.1\nsearch example\nnameserver 127.0.0.53\nnameserver\nnameserver fe80::1%eth0\n"
    assert nameservers(f"{text}nameserver ::1 x") == ["127.0.0.53", "::1"]
