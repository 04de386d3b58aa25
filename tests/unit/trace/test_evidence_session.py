"""Looking at a machine whose guest and forwarder answer as they like."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portchain.host import guests
from portchain.host.docker_api.publications import ContainerPublication, assign_guest_endpoints
from portchain.host.docker_api.records import RECORDS_FILE, Record, Records
from portchain.linux import service_manager
from portchain.ports.forward import Endpoint
from portchain.trace.collect import evidence_session
from portchain.trace.collect.evidence_session import Session, all_containers, containers_behind
from portchain.trace.model import Forwarder, Host, Machine
from portchain.trace.parse.guest_evidence import EvidenceError
from portchain.trace.query import Query

TOLD: dict[str, Any] = json.loads((Path(__file__).parent / "seed_evidence.json").read_text())
Answer = Callable[[dict[str, Any]], bytes | Iterator[bytes]]


class Fake:
    """What answers at evidence.sock, one connection after the other; ``answer`` may be changed meanwhile."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self.answer = answer
        self.connections = 0
        self.once = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with client, client.makefile("rb") as requests:
                for line in requests:
                    if not self._answered(client, json.loads(line)) or self.once:
                        break

    def _answered(self, client: socket.socket, request: dict[str, Any]) -> bool:
        answer = self.answer(request)
        try:
            for piece in [answer] if isinstance(answer, bytes) else answer:
                client.sendall(piece)
        except OSError:
            return False
        return answer != b""

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


def honest(request: dict[str, Any]) -> bytes:
    return json.dumps(TOLD[request["do"]]).encode() + b"\n"


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    monkeypatch.setattr(service_manager, "RUN", tmp_path)
    monkeypatch.setattr(guests, "status", lambda name: guests.GuestStatus(name, "running"))
    (tmp_path / "one").mkdir()
    fake = Fake(tmp_path / "one" / "evidence.sock", honest)
    yield fake
    fake.close()


def test_an_honest_guest_is_seen_without_a_forwarder(guest: Fake, tmp_path: Path) -> None:
    with Session("one") as session:
        machine = session.collect()
    assert machine.guest
    assert [one.name for one in machine.guest.containers if one.space] == ["nginx", "minikube"]
    assert machine.host.forwarder is None
    assert str(tmp_path / "one/control.sock") in machine.host.forwarder_error


def test_what_containers_were_asked_to_publish_is_what_the_host_keeps(
    guest: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_manager, "STATE", tmp_path)
    nginx, minikube = (row["Id"] for row in TOLD["look"]["containers"])
    asked = [
        ContainerPublication.read("8080/tcp", {"HostPort": "8080"}),
        ContainerPublication.read("9/udp", {"HostIp": "::1"}),
    ]
    Records(tmp_path / "one" / RECORDS_FILE).put(
        nginx, Record(tuple(assign_guest_endpoints([one for one in asked if one], [])))
    )
    with Session("one") as session:
        machine = session.collect()
    assert machine.guest
    seen = {one.id: one.wanted for one in machine.guest.containers}
    assert [(one.host, one.guest) for one in seen[nginx]] == [
        (Endpoint("tcp", "", 8080), Endpoint("tcp", "0.0.0.0", 8080)),
        (None, Endpoint("udp", "127.0.0.1", 55000)),
    ]
    assert sorted(one.host.port for one in seen[minikube] if one.host) == [55000, 55001, 55002, 55003, 55004]


@pytest.mark.parametrize(
    ("forwarder", "reason"),
    [
        (Forwarder(pid=1), "host: the relay of guest one is not connected to the forwarder"),
        (Forwarder(pid=1, relay_pid=2), "guest one: vpnkit-forwarder is not connected to the host"),
    ],
    ids=["no relay", "no channel"],
)
def test_a_guest_that_nothing_leads_into_is_not_waited_for(
    guest: Fake, monkeypatch: pytest.MonkeyPatch, forwarder: Forwarder, reason: str
) -> None:
    away = Host("one", "running", forwarder)
    monkeypatch.setattr(evidence_session, "collect_host", lambda *_asked: away)
    guest.answer = lambda _request: iter(())  # none, and the connection stays open
    began = time.monotonic()
    with Session("one") as session:
        machine = session.collect()
    assert time.monotonic() - began < evidence_session.EVIDENCE_SECONDS / 2
    assert machine == Machine(away, None, reason)


def test_containers_that_nobody_chooses_are_not_looked_into(guest: Fake) -> None:
    asked: list[str] = []

    def answer(request: dict[str, Any]) -> bytes:
        asked.append(request["do"])
        return honest(request)

    guest.answer = answer
    with Session("one") as session:
        assert session.collect(choose=lambda _: []).guest
    assert asked == ["look"]


def test_what_a_chain_may_lead_to_is_chosen(guest: Fake) -> None:
    with Session("one") as session:
        machine = session.collect()
    assert machine.guest
    names = {one.id: one.name for one in machine.guest.containers}
    assert {names[one] for one in containers_behind(Query(8080))(machine)} == {"nginx"}
    assert set(containers_behind(Query(9))(machine)) == set(all_containers(machine)) == set(names)


SILENT = {
    "the connection was closed": lambda _: b"",
    "timed out": lambda _: b"{",
    "Expecting value": lambda _: b"nonsense\n",
    "recursion": lambda _: b"[" * 100_000 + b"\n",
    "Extra data": lambda _: b'{"more": 1}\n{"than": "asked"}\n',
}


@pytest.mark.parametrize("reason", SILENT)
def test_a_guest_that_makes_no_sense_is_left_with_a_reason(guest: Fake, reason: str) -> None:
    guest.answer = SILENT[reason]
    with Session("one", seconds=1.0) as session:
        machine = session.collect()
        assert machine.guest is None
        assert machine.guest_error.startswith("guest one: it does not tell of its network")
        assert reason in machine.guest_error
        guest.answer = honest
        assert session.collect().guest
    assert guest.connections == 2


def test_a_guest_that_tells_without_end_is_left(guest: Fake) -> None:
    guest.answer = lambda _: b"x" * (1 << 22)
    with Session("one", max_answer=1 << 20) as session:
        assert "it tells too much" in session.collect().guest_error


def test_a_guest_that_tells_slowly_is_left_in_time(guest: Fake) -> None:
    def trickle(_: dict[str, Any]) -> Iterator[bytes]:
        for _ in range(100):
            time.sleep(0.05)
            yield b"x"

    guest.answer = trickle
    began = time.monotonic()
    with Session("one", seconds=0.15) as session:
        assert "timed out" in session.collect().guest_error
    assert time.monotonic() - began < 2


def test_what_the_guest_says_is_wrong_is_told(guest: Fake) -> None:
    guest.answer = lambda _: json.dumps({"error": "guest: " + "x" * 5000}).encode() + b"\n"
    with Session("one") as session, pytest.raises(EvidenceError, match="guest: x") as raised:
        session.ask("watch")
    assert len(str(raised.value)) <= 300


def test_containers_that_are_not_told_of_are_a_problem(guest: Fake) -> None:
    guest.answer = lambda request: honest(request) if request["do"] == "look" else b'{"containers": 7}\n'
    with Session("one") as session:
        machine = session.collect()
    assert machine.guest
    assert "what it tells of its containers is not understood" in machine.guest.problems[-1]
    assert all(one.space is None for one in machine.guest.containers)


def test_a_connection_that_the_guest_ended_is_made_again_before_anything_is_missed(guest: Fake) -> None:
    guest.once = True
    with Session("one") as session:
        for _ in range(3):
            session.ask("look")
            time.sleep(0.05)
    assert guest.connections == 3


def test_a_guest_that_does_not_run_is_not_asked(guest: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guests, "status", lambda name: guests.GuestStatus(name, "stopped"))
    with Session("one") as session:
        machine = session.collect()
    assert (machine.guest, machine.guest_error) == (None, "guest one is stopped")
    assert guest.connections == 0
