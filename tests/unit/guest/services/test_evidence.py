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

from portchain.guest.services.diagnose import evidence, network_spaces
from portchain.guest.services.diagnose.evidence import Evidence

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
    request = {"do": "watch", "interfaces": [{"pid": 0, "name": "lo", "port": port}]}
    assert "is no port" in Evidence().answer(json.dumps(request).encode())["error"]


def test_no_more_than_a_few_hundred_containers_are_looked_into() -> None:
    request = {"do": "inside", "containers": [f"no/{number}" for number in range(201)]}
    told = Evidence().answer(json.dumps(request).encode())
    assert len(told["containers"]) == 200
    assert told["problems"][0] == "guest: 200 of 201 containers are examined, no more at once"


def test_requests_are_answered_in_order_until_the_client_is_done() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "portchain.guest.services.diagnose.evidence"],
        input=b'{"do": "ping"}\nnonsense\n{"do": "ping"}\n{"do": "pi',
        capture_output=True,
        timeout=20,
        check=True,
    )
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert (first, third) == ({}, {})
    assert second["error"].startswith("guest: not a request")


def test_an_answer_that_nobody_reads_is_given_up() -> None:
    reading, writing = os.pipe()
    assert not evidence.write_all(writing, memoryview(bytes(1 << 20)), idle_seconds=0.1)
    os.close(reading)
    assert not evidence.write_all(writing, memoryview(b"more"))
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
    assert evidence.write_all(writing, memoryview(data))
    os.close(writing)
    thread.join()
    assert read == [data]


def test_commands_run_at_once_and_each_tells_what_it_cannot() -> None:
    problems: list[str] = []
    commands = {
        "fine": ("echo", "said"),
        "failing": ("sh", "-c", "echo half; exit 3"),
        "slow": ("sleep", "20"),
        "missing": ("no-such-program",),
    }
    outputs = network_spaces.run_all(commands, problems, seconds=0.5)
    assert outputs == {"fine": "said\n", "failing": "", "slow": "", "missing": ""}
    assert problems == [
        "guest: sh -c echo half; exit 3: exit status 3",
        "guest: sleep 20: not done after 0.5 s",
        "guest: no-such-program cannot be run: No such file or directory",
    ]


@pytest.mark.parametrize(
    ("tables", "native"),
    [([], False), (["ip nat", "ip6 filter"], False), (["ip nat", "inet filter"], True), (["ip own"], True)],
)
def test_rules_are_asked_of_nft_where_iptables_does_not_show_them(tables: list[str], native: bool) -> None:
    words = (one.split() for one in tables)
    rows = [{"metainfo": {}}, *({"table": {"family": family, "name": name}} for family, name in words)]
    assert network_spaces.has_native(json.dumps({"nftables": rows})) == native
    assert not network_spaces.has_native("")


@pytest.mark.parametrize(
    ("said", "asked"), [("# Table `nat' is incompatible, use 'nft' tool.\n", True), ("*nat\nCOMMIT\n", False)]
)
def test_rules_are_asked_of_nft_where_iptables_says_so(said: str, asked: bool) -> None:
    commands = {"iptables": ("printf", said), "ip6tables": ("true",)}
    list_nft = ("sh", "-c", '[ "$1" = tables ] || echo "$1"', "nft")
    assert network_spaces.own([], commands, list_nft)["nft"] == ("ruleset\n" if asked else "")


def test_a_socket_is_known_by_its_processes() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen(["sleep", "20"], pass_fds=[server.fileno()]) as other,
    ):
        inode = os.fstat(server.fileno()).st_ino
        found = network_spaces.holders([inode, 0])
        other.kill()
    assert set(found) == {inode}
    held = {one["pid"]: one["command"] for one in found[inode]}
    assert set(held) == {os.getpid(), other.pid}
    assert held[other.pid] == "sleep"
