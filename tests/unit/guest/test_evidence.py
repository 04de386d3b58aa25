"""The requests that evidence.sock takes, without a guest."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portchain.guest.services import evidence, spaces
from portchain.guest.services.evidence import Evidence

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
WORDS = ("port", "interfaces", "containers")


@given(
    do=st.sampled_from(["watch", "inside", "ping", "drop"]),
    words=st.dictionaries(st.sampled_from(WORDS), JSON),
    whole=JSON,
)
def test_every_request_is_answered(do: str, words: dict[str, Any], whole: Any) -> None:
    for request in ({"do": do, **words}, {"do": whole}, whole):
        assert json.dumps(Evidence().answer(json.dumps(request).encode()))


@pytest.mark.parametrize("port", [0, -1, 1 << 16, 1 << 40])
def test_what_is_no_port_is_refused(port: int) -> None:
    request = {"do": "watch", "port": port, "interfaces": []}
    assert "is no port" in Evidence().answer(json.dumps(request).encode())["error"]


def test_no_more_than_a_few_hundred_containers_are_looked_into() -> None:
    request = {"do": "inside", "containers": [f"no/{number}" for number in range(201)]}
    told = Evidence().answer(json.dumps(request).encode())
    assert len(told["containers"]) == 200
    assert told["problems"][0] == "guest: 200 of 201 containers are looked into, no more at once"


def test_requests_are_answered_in_order_until_the_client_is_done() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "portchain.guest.services.evidence"],
        input=b'{"do": "ping"}\nnonsense\n{"do": "ping"}\n{"do": "pi',
        capture_output=True,
        timeout=20,
        check=True,
    )
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert (first, third) == ({}, {})
    assert second["error"].startswith("guest: not a request")


def test_an_answer_that_nobody_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "IDLE_SECONDS", 0.1)
    reading, writing = os.pipe()
    assert not evidence._written(writing, memoryview(bytes(1 << 20)))
    os.close(reading)
    assert not evidence._written(writing, memoryview(b"more"))
    os.close(writing)


def test_a_long_answer_is_written_whole() -> None:
    reading, writing = os.pipe()
    read: list[bytes] = []

    def consume() -> None:
        with os.fdopen(reading, "rb") as source:
            read.append(source.read())

    thread = threading.Thread(target=consume)
    thread.start()
    data = os.urandom(1 << 20)
    assert evidence._written(writing, memoryview(data))
    os.close(writing)
    thread.join()
    assert read == [data]


def test_commands_run_at_once_and_each_tells_what_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "SECONDS", 0.5)
    problems: list[str] = []
    commands = {
        "fine": ("echo", "said"),
        "failing": ("sh", "-c", "echo half; exit 3"),
        "slow": ("sleep", "20"),
        "missing": ("no-such-program",),
    }
    assert spaces.printed(commands, problems) == {"fine": "said\n", "failing": "", "slow": "", "missing": ""}
    assert problems == [
        "guest: sh -c echo half; exit 3: exit status 3",
        "guest: sleep 20: no end after 0.5 s",
        "guest: no-such-program cannot be run: No such file or directory",
    ]


@pytest.mark.parametrize(
    ("tables", "native"),
    [([], False), (["ip nat", "ip6 filter"], False), (["ip nat", "inet filter"], True), (["ip own"], True)],
)
def test_rules_are_asked_of_nft_where_iptables_does_not_show_them(tables: list[str], native: bool) -> None:
    words = (one.split() for one in tables)
    rows = [{"metainfo": {}}, *({"table": {"family": family, "name": name}} for family, name in words)]
    assert spaces.has_native(json.dumps({"nftables": rows})) == native
    assert not spaces.has_native("")


@pytest.mark.parametrize(
    ("said", "asked"), [("# Table `nat' is incompatible, use 'nft' tool.\n", True), ("*nat\nCOMMIT\n", False)]
)
def test_rules_are_asked_of_nft_where_iptables_says_so(monkeypatch: pytest.MonkeyPatch, said: str, asked: bool) -> None:
    monkeypatch.setattr(spaces, "_COMMANDS", {"iptables": ("printf", said), "ip6tables": ("true",)})
    monkeypatch.setattr(spaces, "_NFT", ("echo",))
    monkeypatch.setattr(spaces, "has_native", lambda _: False)
    assert spaces.own([])["nft"] == ("ruleset\n" if asked else "")


def test_a_socket_is_known_by_its_processes() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen(["sleep", "20"], pass_fds=[server.fileno()]) as other,
    ):
        inode = os.fstat(server.fileno()).st_ino
        found = spaces.holders([inode, 0])
        other.kill()
    assert set(found) == {inode}
    held = {one["pid"]: one["command"] for one in found[inode]}
    assert set(held) == {os.getpid(), other.pid}
    assert held[other.pid] == "sleep"
