"""The host's names as its guest has them, and who resolves the others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portchain.host.drivers.namespace.name_relay import server_failure
from portchain.host.drivers.namespace.resolution_file import ResolutionFile
from portchain.host.name_resolution import (
    NO_SEARCH,
    NameResolution,
    dns_servers,
    hosts_for_guest,
    resolv_conf,
)
from portchain.protocol.names import HOST_NAMES, OWN_DOMAINS

RESOLV_CONF = """\
# nameserver 10.0.0.1
search old.example
nameserver 127.0.0.53
nameserver
nameserver fe80::1%eth0
nameserver ::1 x
;search commented.example
search Corp.Example. lab.example b@d
search
"""
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


def test_names_of_docker_desktop_are_not_the_hosts_to_give() -> None:
    assert hosts_for_guest(f"10.9.9.9 {' '.join(HOST_NAMES)} kubernetes.docker.internal own.test", "g") == (
        "10.9.9.9 own.test\n"
    )


@pytest.mark.parametrize("upstream", ["127.0.0.53", ""])
def test_nobody_else_is_asked_for_a_name_that_is_known(upstream: str) -> None:
    lines = dns_servers("10.1.2.3 db.example\n10.1.2.4 DB.example b@d\n", upstream).splitlines()
    below = ["server=/*.db.example/127.0.0.53"] if upstream else []
    assert lines[-1 - len(below) :] == ["server=/db.example/", *below]
    assert {f"server=/{domain}/" for domain in OWN_DOMAINS} < set(lines)
    assert ("server=127.0.0.53" in lines) == bool(upstream)


def test_the_hosts_resolver_is_read_as_programs_of_the_host_read_it() -> None:
    as_the_host = NameResolution()
    assert as_the_host.name_servers(RESOLV_CONF) == ["127.0.0.53", "::1"]
    assert as_the_host.domains(RESOLV_CONF) == ["corp.example", "lab.example"]
    assert (as_the_host.name_servers(""), as_the_host.domains("")) == ([], [])
    assert as_the_host.domains("domain corp.example\n") == ["corp.example"]


def test_a_resolver_of_its_own_takes_the_place_of_the_hosts() -> None:
    own = NameResolution.parse(["10.0.0.53", "::1"], ["Lan."])
    assert own.name_servers(RESOLV_CONF) == ["10.0.0.53", "::1"]
    assert own.domains(RESOLV_CONF) == ["lan"]
    assert NameResolution.parse([], NO_SEARCH).domains(RESOLV_CONF) == []
    assert NameResolution.load(own.dump()) == own


@pytest.mark.parametrize(
    ("servers", "search", "said"),
    [
        (["dns.example"], [], "'dns.example' is not the address of a name server"),
        (["fe80::1"], [], "'fe80::1'"),
        (["10.0.0.1:53"], [], "'10.0.0.1:53'"),
        ([], ["a b"], "'a b' is not a domain"),
        ([], ["corp.example", "."], "'' is not a domain"),
        ([], [""], "'' is not a domain"),
    ],
)
def test_what_cannot_resolve_names_is_named(servers: list[str], search: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        NameResolution.parse(servers, search)


@given(st.text(max_size=80))
def test_the_hosts_files_bring_no_line_of_their_own_into_the_guests(text: str) -> None:
    domains = NameResolution().domains(f"search {text}")
    assert len(resolv_conf("10.0.0.1", domains).splitlines()) == 1 + bool(domains)
    for line in dns_servers(hosts_for_guest(f"10.0.0.1 {text}", "g"), "u").splitlines():
        assert re.fullmatch(r"server=(u|/[a-z0-9_.*-]+/u?)", line)


def test_both_files_are_read_again_when_they_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, hosts = tmp_path / "resolution.json", tmp_path / "resolv.conf"
    file = ResolutionFile(own, hosts)
    assert (file.name_servers(), file.domains()) == ([], [])
    hosts.write_text("nameserver 10.0.0.1\nsearch one.example\n")
    assert (file.name_servers(), file.domains()) == (["10.0.0.1"], ["one.example"])
    own.write_text(NameResolution.parse(["10.0.0.2"], []).dump())
    assert (file.name_servers(), file.domains()) == (["10.0.0.2"], ["one.example"])
    own.write_text("garbage")
    assert file.name_servers() == ["10.0.0.1"]
    assert "resolution.json" in capsys.readouterr().err


@given(st.binary(min_size=5, max_size=100))
def test_a_failure_answers_the_question_that_was_asked(query: bytes) -> None:
    answer = server_failure(query)
    assert (answer[:2], answer[4:]) == (query[:2], query[4:])
    assert (answer[2] >> 7, answer[3] & 15) == (1, 2)
