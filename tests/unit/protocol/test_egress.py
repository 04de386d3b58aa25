"""The rules for names and the proxy, and what those who are refused are answered."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portchain.guest.services.allowlist.allowlist import EgressRules
from portchain.guest.services.allowlist.refusal import refuse_dns, refuse_http
from portchain.host.host_access import HostAccess
from portchain.host.live_settings import LiveSettings
from portchain.host.name_resolution import NameResolution
from portchain.protocol.egress import Egress
from portchain.protocol.names import OWN_DOMAINS

UP, SUBNET = "192.168.65.2", "192.168.65.0/24"


def rules(egress: Egress) -> list[str]:
    """The Upstream lines for tinyproxy, but those of the guest's own places."""
    lines = [line.removeprefix("Upstream ") for line in egress.proxy_rules(SUBNET).splitlines() if "Upstream" in line]
    own = ['none ".docker.internal"', *(f'none "{name}"' for name in OWN_DOMAINS[1:]), f'none "{SUBNET}"']
    assert lines[-len(own) :] == own
    return lines[: -len(own)]


def test_without_rules_everything_goes_out_directly() -> None:
    assert Egress().dns_servers(UP) == f"server={UP}\n"
    assert rules(Egress()) == []


def test_only_allowed_names_reach_the_upstream() -> None:
    found = Egress.parse(["Quay.io", "*.docker.io", "docker.io", "10.0.0.0/8"]).dns_servers(UP).splitlines()
    assert found[0] == "server=127.0.0.1#3130"
    assert found[-4:] == [
        f"server=/quay.io/{UP}",
        "server=/*.quay.io/127.0.0.1#3130",
        f"server=/*.docker.io/{UP}",
        f"server=/docker.io/{UP}",
    ]


def test_the_own_names_are_always_allowed() -> None:
    assert {f"server=/{name}/{UP}" for name in OWN_DOMAINS} < set(
        Egress.parse(["quay.io"]).dns_servers(UP).splitlines()
    )


def test_what_is_not_allowed_is_led_to_the_one_who_says_so() -> None:
    found = rules(Egress.parse(["quay.io", "*.docker.io", "10.0.0.0/8"]))
    assert found == ["http 127.0.0.1:3129", 'none "quay.io"', 'none ".docker.io"', 'none "10.0.0.0/8"']


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://proxy.corp:3128", "http proxy.corp:3128"),
        ("proxy.corp:3128", "http proxy.corp:3128"),
        ("http://proxy.corp", "http proxy.corp:80"),
        ("http://me:p%3Aw@proxy.corp:8080/", "http me:p:w@proxy.corp:8080"),
        ("socks5h://10.1.2.3", "socks5 10.1.2.3:1080"),
        ("http://127.0.0.1:3128", "http host.docker.internal:3128"),
        ("http://localhost:3128", "http host.docker.internal:3128"),
        ("http://[::1]:3128", "http host.docker.internal:3128"),
    ],
)
def test_the_proxy_outside_is_the_way_out(url: str, words: str) -> None:
    assert rules(Egress.parse([], url)) == [words]


def test_no_proxy_is_read_as_the_variable_is() -> None:
    found = rules(
        Egress.parse([], "http://p:1", ["corp.example", ".lan", "*.dev", "10.0.0.0/8", "one:443", " ", "::1"])
    )
    direct = [line.removeprefix("none ").strip('"') for line in found[1:]]
    assert direct == ["corp.example", ".corp.example", ".lan", ".dev", "10.0.0.0/8", "one", ".one", "::1"]
    assert rules(Egress.parse([], "http://p:1", ["*"])) == []


def test_past_the_proxy_goes_only_what_is_allowed() -> None:
    found = rules(
        Egress.parse(["*.corp.example", "quay.io", "10.0.0.0/8"], "http://p:1", ["corp.example", "10.1.0.0/16"])
    )
    assert found[:4] == [
        "http 127.0.0.1:3129",
        'http p:1 ".corp.example"',
        'http p:1 "quay.io"',
        'http p:1 "10.0.0.0/8"',
    ]
    assert set(found[4:]) == {'none ".corp.example"', 'none "10.1.0.0/16"'}


@pytest.mark.parametrize(
    ("allowlist", "proxy", "no_proxy", "said"),
    [
        (["https://quay.io"], "", [], "'https://quay.io'"),
        (["quay.io:443"], "", [], "'quay.io:443'"),
        (["quay.*"], "", [], "'quay.*'"),
        (["*"], "", [], "'*'"),
        ([""], "", [], "''"),
        ([], "https://proxy:3128", [], "proxy"),
        ([], "http://", [], "proxy"),
        ([], "http://[2001:db8::1]:3128", [], "proxy"),
        ([], "http://proxy:99999", [], "proxy"),
        ([], "http://me:a%20b@proxy", [], "proxy"),
        ([], 'http://proxy".x:1', [], "proxy"),
        ([], "http://p:1", ["a b"], "'a b'"),
    ],
)
def test_what_cannot_be_used_is_named(allowlist: list[str], proxy: str, no_proxy: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Egress.parse(allowlist, proxy, no_proxy)


def test_a_password_is_not_shown() -> None:
    secret = Egress.parse([], "http://me:sesame@proxy:3128")
    assert "sesame" not in str(secret)
    assert "sesame" in secret.dump()
    with pytest.raises(ValueError, match="not the URL of a proxy") as error:
        Egress.parse([], "https://me:sesame@proxy:3128")
    assert "sesame" not in str(error.value)


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80))
def test_no_word_gets_a_line_of_its_own_into_the_files(name: str, proxy: str, past: str) -> None:
    try:
        egress = Egress.parse([name], proxy, [past])
    except ValueError:
        return
    assert Egress.load(egress.dump()) == egress
    for line in (egress.dns_servers(UP) + egress.proxy_rules(SUBNET)).splitlines():
        assert re.match(r"server=[^\s]+$|(Port|Timeout|MaxClients|LogLevel|DisableViaHeader|Upstream) \S", line)


def test_live_files_are_kept_apart_and_read_back(tmp_path: Path) -> None:
    resolution = NameResolution.parse(["10.0.0.53"], ["corp.example"])
    live = LiveSettings(HostAccess.parse(["80"]), Egress.parse(["quay.io"]), resolution=resolution)
    assert live.differs(tmp_path)
    assert live.apply(tmp_path)
    assert not live.apply(tmp_path)
    assert LiveSettings.load(tmp_path) == live
    (tmp_path / "host-access.json").unlink()
    assert LiveSettings.load(tmp_path).egress == live.egress
    assert (tmp_path / "policy/egress.json").stat().st_mode & 0o077 == 0


def query(name: str, kind: int, *, extended: bool = False) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    options = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0) if extended else b""
    return (
        struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, int(extended))
        + labels
        + b"\0"
        + struct.pack("!HH", kind, 1)
        + options
    )


def test_a_name_that_is_refused_does_not_exist_and_the_reason_is_told() -> None:
    answer = refuse_dns(query("quay.io", 1, extended=True), lambda name: f"no {name}")
    number, flags, *counts = struct.unpack_from("!HHHHHH", answer)
    assert (number, flags & 0x800F, counts) == (7, 0x8003, [1, 0, 0, 1])
    assert answer.endswith(struct.pack("!HHH", 15, 12, 15) + b"no quay.io")


def test_without_extensions_none_are_sent() -> None:
    assert refuse_dns(query("quay.io", 28), lambda name: f"no {name}") == (
        struct.pack("!HHHHHH", 7, 0x8183, 1, 0, 0, 0) + query("quay.io", 28)[12:]
    )


def test_a_question_for_text_is_answered_with_it() -> None:
    answer = refuse_dns(query("quay.io", 16), lambda name: f"no {name}")
    assert struct.unpack_from("!HHHH", answer)[1:] == (0x8180, 1, 1)
    assert answer.endswith(b"\x0ano quay.io")


@given(st.binary(max_size=200))
def test_garbage_is_no_query(data: bytes) -> None:
    try:
        assert refuse_dns(data, lambda name: name)[:2] == data[:2]
    except ValueError as error:
        assert "not a DNS query" in str(error)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"CONNECT quay.io:443 HTTP/1.1\r\n", "quay.io"),
        (b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\n", "2001:db8::1"),
        (b"GET http://quay.io:80/v2/ HTTP/1.1\r\n", "quay.io"),
        (b"GET /v2/ HTTP/1.1\r\n", "/v2/"),
    ],
)
def test_the_reason_is_in_the_status_line(line: bytes, name: str) -> None:
    answer = refuse_http(line, Egress.parse(["docker.io"]).refusal).decode()
    sentence = f"{name} is not allowed: the guest's allowlist (guest_allowlist) has docker.io"
    assert answer.startswith(f"HTTP/1.1 403 {sentence}\r\n")
    assert answer.endswith(f"\r\n\r\n{sentence}\n")


@given(st.binary(max_size=200))
def test_no_request_breaks_the_answer(data: bytes) -> None:
    head, _, body = refuse_http(data, Egress().refusal).partition(b"\r\n\r\n")
    assert head.count(b"\r\n") == 3
    assert int(re.findall(rb"Content-Length: (\d+)", head)[0]) == len(body)


def test_a_long_list_is_cut_short() -> None:
    assert Egress.parse([f"{n}.test" for n in range(9)]).refusal("x").endswith("4.test and 4 more")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "guest.json").write_text(f'{{"gateway": "{UP}", "subnet": "{SUBNET}"}}')
    return tmp_path


def test_rules_follow_the_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = EgressRules(folder / "egress.json", folder / "guest.json", folder)
    one.reload()
    assert "nothing outside is allowed" in capsys.readouterr().err
    assert f"server=/docker.internal/{UP}" in (folder / "dns-servers").read_text()
    (folder / "egress.json").write_text(Egress.parse(["quay.io"], "http://p:1").dump())
    one.reload()
    assert f"server=/quay.io/{UP}" in (folder / "dns-servers").read_text()
    assert 'http p:1 "quay.io"' in (folder / "tinyproxy.conf").read_text()
    assert (folder / "tinyproxy.conf").stat().st_mode & 0o007 == 0
    (folder / "egress.json").write_text("garbage")
    one.reload()
    assert "quay.io" not in (folder / "dns-servers").read_text()


def test_a_reason_is_logged_once_a_minute(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = EgressRules(folder / "egress.json", folder / "guest.json", folder)
    assert {one.refuse("quay.io") for _ in range(5)} == {one.egress.refusal("quay.io")}
    assert capsys.readouterr().err.count("quay.io is not allowed") == 1
