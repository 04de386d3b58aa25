"""What the guest tells of each hop, asked over evidence.sock."""

from __future__ import annotations

import json
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from probing import answered, ask
from testinfra.host import Host

from portchain.ports.forward import Endpoint
from portchain.trace.collect.evidence_session import Session
from portchain.trace.model import Container, Guest, Machine
from portchain.trace.parse.guest_evidence import EvidenceError
from support.host_ports import free_port
from support.waiting import eventually

PROGRAM = "portchain.guest.services.diagnose.[e]vidence"
SYN, ACK = 0x02, 0x10
LOOKS = 30
BOUND = 0.5  # seconds for a look on a machine that has other things to do as well

Probe = Callable[..., Any]


@pytest.fixture
def session(guest_name: str) -> Iterator[Session]:
    """A connection to the guest's evidence."""
    with Session(guest_name) as found:
        yield found


def seen(machine: Machine) -> Guest:
    """The guest's side."""
    assert machine.guest, machine.guest_error
    return machine.guest


def named(session: Session, container: Any) -> Container:
    """A container as it is seen, looked into."""
    found = seen(session.collect()).container(container.id)
    assert found
    return found


def test_the_socket_is_the_users_alone(run_dir: Path) -> None:
    assert stat.S_IMODE((run_dir / "evidence.sock").stat().st_mode) == 0o600


def test_the_guest_is_told_of_as_it_is(session: Session, probe: Probe, host: Host, seed: dict[str, Any]) -> None:
    port = free_port()
    probe(ports={"7000/tcp": port})
    answered(port)
    guest = seen(session.collect())
    assert guest.problems == ()
    assert {one.name for one in guest.services} == set(seed["guest"]["services"])
    assert {one.state for one in guest.services} == {"running"}
    assert {one.name for one in guest.networks} == {"bridge", "host", "none"}
    held = {one.at.hostport: [p.command for p in one.processes] for one in guest.space.listeners}
    assert held[f"0.0.0.0:{port}"] == ["dockerd"]
    assert held["127.0.0.1:1080"] == ["microsocks"]
    docker0 = guest.space.link_named("docker0")
    assert docker0
    assert (docker0.kind, docker0.mtu, docker0.addresses[0]) == ("bridge", 1500, "172.17.0.1/16")
    rules = guest.space.rules.chain("ip nat", "DOCKER")
    assert rules
    assert any(f"--dport {port}" in rule.text for rule in rules.rules)
    assert guest.space.rules.unknown == ()
    assert guest.space.ip_forward
    assert str(guest.space.inode) in host.check_output("readlink /proc/1/ns/net")


def test_a_container_is_looked_into(session: Session, probe: Probe, host: Host) -> None:
    port = free_port()
    container = probe(ports={"7000/tcp": port})
    answered(port)
    found = named(session, container)
    assert found.space
    inner = found.space.link_named("eth0")
    assert inner
    assert str(inner.peer) == container.exec_run("cat /sys/class/net/eth0/iflink").output.decode().strip()
    outer = seen(session.collect()).space.link(inner.peer)
    assert outer
    assert host.check_output(f"cat /sys/class/net/{outer.name}/iflink") == str(inner.index)
    (listener,) = [one for one in found.space.listeners if one.at == Endpoint("tcp", "", 7000)]
    assert [(p.pid, p.command) for p in listener.processes] == [(found.pid, "probe")]
    route = found.space.route("8.8.8.8")
    assert route
    assert (route.device, route.gateway) == ("eth0", "172.17.0.1")
    assert found.space.inode != seen(session.collect()).space.inode


def test_a_container_that_ended_keeps_what_it_wants(session: Session, probe: Probe) -> None:
    port = free_port()
    container = probe(ports={"7000/tcp": port})
    container.stop(timeout=0)
    found = named(session, container)
    assert (found.state, found.exit_code, found.pid, found.space) == ("exited", 137, 0, None)
    assert [(one.container_port, one.host and one.host.port) for one in found.wanted] == [(7000, port)]


def test_a_container_that_is_gone_is_a_problem(session: Session) -> None:
    told = session.ask("inside", containers=["0" * 64, "no/container?at=all"])
    assert [name for name, one in told["containers"].items() if one] == []
    assert len(told["problems"]) == 2
    assert any("No such container" in problem for problem in told["problems"])


def test_without_the_engine_the_rest_is_told(session: Session, portchain: Callable[..., Any]) -> None:
    portchain("engine", "stop")
    try:
        guest = seen(session.collect())
    finally:
        portchain("engine", "start")
    assert guest.containers == ()
    assert any("the engine does not answer" in problem for problem in guest.problems)
    assert guest.space.link_named("docker0")
    assert len(guest.services) == 15


def interfaces(session: Session, container: Any, port: int) -> list[dict[str, Any]]:
    """Those that a packet to ``port`` passes on its way from the guest into the container."""
    found = named(session, container)
    assert found.space
    inner = found.space.link_named("eth0")
    assert inner
    outer = seen(session.collect()).space.link(inner.peer)
    assert outer
    passed = [(0, "docker0"), (0, outer.name), (found.pid, "eth0")]
    return [{"pid": pid, "name": name, "port": port} for pid, name in passed]


def test_the_packets_of_a_connection_are_caught_where_they_pass(session: Session, probe: Probe) -> None:
    port = free_port()
    container = probe(ports={"7000/tcp": port})
    answered(port)
    watched = interfaces(session, container, 7000)
    for _ in range(5):
        before = session.ask("watch", interfaces=watched)
        began = time.time_ns()
        ask(port)
        ended = time.time_ns()
        after = session.ask("caught")
        packets = after["packets"]
        assert [one["time"] for one in packets] == sorted(one["time"] for one in packets)
        assert began < packets[0]["time"]
        assert packets[0]["time"] < ended
        syns = [one for one in packets if one["flags"] & (SYN | ACK) == SYN]
        assert [(one["interface"], one["out"]) for one in syns] == [(0, True), (1, True), (2, False)]
        assert {one["port"] for one in syns} == {7000}
        answers = [one for one in packets if one["flags"] & (SYN | ACK) == SYN | ACK]
        assert [(one["interface"], one["out"]) for one in answers] == [(2, True), (1, False), (0, False)]
        assert f"dport={port} " in after["conntrack"]
        assert count(after["counters"], port) == count(before["counters"], port) + 1


def count(rules: str, port: int) -> int:
    """How many packets the nat rule for a port has met."""
    (line,) = [one for one in rules.splitlines() if f"--dport {port} -j DNAT" in one]
    return int(line[1:].partition(":")[0])


def test_other_ports_are_not_caught(session: Session, probe: Probe) -> None:
    port, other = free_port(), free_port()
    container = probe("tcp:[::]:7000", "tcp:[::]:7001", ports={"7000/tcp": port, "7001/tcp": other})
    answered(port)
    answered(other)
    session.ask("watch", interfaces=interfaces(session, container, 7001))
    ask(port, b"source 4000000\n")
    assert session.ask("caught")["packets"] == []


def test_what_refuses_a_datagram_is_caught(session: Session, probe: Probe) -> None:
    port, served = free_port(), free_port()
    container = probe("tcp:[::]:7000", ports={"7000/tcp": served, "7009/udp": port})
    answered(served)
    session.ask("watch", interfaces=interfaces(session, container, 7009))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"?", ("127.0.0.1", port))
        time.sleep(0.1)
    packets = session.ask("caught")["packets"]
    assert [(one["interface"], one["protocol"]) for one in packets][:4] == [
        *((index, "udp") for index in range(3)),
        (2, "icmp"),
    ]


def connected(run_dir: Path) -> socket.socket:
    """A client that says what it likes."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(run_dir / "evidence.sock"))
    return client


NONSENSE = [
    *(b"", b"{", b"[]", b"null", b'"look"', b"\xff\xfe", b"[" * 5000, b'{"do": "drop"}', b'{"do": ["look"]}'),
    *(b'{"do": "inside"}', b'{"do": "inside", "containers": 7}', b'{"do": "watch"}'),
    b'{"do": "watch", "interfaces": [{"pid": 0, "name": "lo"}]}',
    b'{"do": "watch", "interfaces": [{"pid": 0, "name": "lo", "port": 1e999}]}',
    b'{"do": "watch", "interfaces": [{"pid": 0, "name": "none", "port": 1}]}',
    b'{"do": "watch", "interfaces": [{"pid": 999999999, "name": "lo", "port": 1}]}',
    b'{"do": "watch", "interfaces": [{"pid": 0, "name": "lo", "port": 70000000000}]}',
    b'{"do": "watch", "interfaces": [{"pid": 0, "name": "l\\u0000o", "port": 1}]}',
]


def test_nonsense_is_answered_and_the_next_request_too(run_dir: Path) -> None:
    with connected(run_dir) as client, client.makefile("rb") as answers:
        for line in NONSENSE:
            client.sendall(line + b"\n")
            assert json.loads(answers.readline())["error"].startswith("guest: "), line
        client.sendall(b'{"do": "ping"}\n{"do": "ping"}\n')
        assert [json.loads(answers.readline()) for _ in range(2)] == [{}, {}]


def test_who_asks_without_end_is_left(run_dir: Path) -> None:
    with connected(run_dir) as client, pytest.raises(ConnectionError):
        client.sendall(b"x" * (1 << 22))
        assert client.recv(1)
        pytest.fail("it was answered")


def programs(host: Host) -> set[str]:
    """The pids of those that answer."""
    return set(host.run(f"pgrep -f {PROGRAM}").stdout.split())


def test_the_program_ends_with_its_client(host: Host, guest_name: str) -> None:
    before = programs(host)
    with Session(guest_name) as one, Session(guest_name) as other:
        one.ask("ping")
        other.ask("watch", interfaces=[{"pid": 0, "name": "lo", "port": 1}])
        assert len(programs(host) - before) == 2
    eventually(lambda: programs(host) <= before, "the end of both programs")


def test_a_connection_that_was_closed_is_made_again(session: Session, host: Host) -> None:
    before = programs(host)
    session.ask("ping")
    (pid,) = programs(host) - before
    host.check_output(f"kill {pid}")
    eventually(lambda: pid not in programs(host), "its end")
    assert session.ask("ping") == {}


def test_many_looks_take_neither_long_nor_more_and_more(session: Session, host: Host) -> None:
    before = programs(host)
    session.collect()
    (pid,) = programs(host) - before

    def use() -> tuple[int, int]:
        memory = host.check_output(f"awk '/^VmRSS/ {{print $2}}' /proc/{pid}/status")
        return int(memory), len(host.check_output(f"ls /proc/{pid}/fd").split())

    for _ in range(LOOKS):
        session.collect()
    memory, descriptors = use()
    began = time.monotonic()
    for _ in range(LOOKS):
        session.collect()
    assert (time.monotonic() - began) / LOOKS < BOUND
    after = use()
    assert after[0] < memory + 1024
    assert after[1] == descriptors


def test_a_guest_that_is_not_there_says_so() -> None:
    with Session("nobody") as session, pytest.raises(EvidenceError, match="guest nobody: it does not tell"):
        session.ask("ping")
    with Session("nobody") as session:
        assert session.collect().guest_error == "guest nobody is absent"
