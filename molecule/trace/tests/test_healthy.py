"""On a healthy machine nothing is accused, however often one looks and whatever comes and goes."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from probing import Guest, answered

from portchain.trace.collect.evidence_session import Session
from portchain.trace.query import Query
from portchain.trace.tracing import trace_machine, trace_port
from support.host_ports import free_port
from support.waiting import eventually

CONTAINERS = 3


def test_many_traces_accuse_nobody(probe: Callable[..., Any], guest_name: str, pytestconfig: pytest.Config) -> None:
    ports = [free_port() for _ in range(CONTAINERS)]
    for port in ports:
        probe(ports={"7000/tcp": port, "7000/udp": port})
        answered(port)
    verdicts = []
    with Session(guest_name) as session:
        for _ in range(pytestconfig.getoption("--traces")):
            _, traces = trace_machine(session)
            assert {one.asked for one in traces} >= {str(port) for port in ports}
            verdicts += [one.verdict for one in traces if one.verdict]
    assert not verdicts


def test_nothing_is_accused_while_others_come_and_go(probe: Callable[..., Any], engine: Any, guest_name: str) -> None:
    port = free_port()
    probe(ports={"7000/tcp": port})
    answered(port)
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            other = probe(ports={"7000/tcp": None}, network_mode="bridge")
            other.remove(force=True)

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        with Session(guest_name) as session:
            found = [trace_port(session, Query(port))[1].verdict for _ in range(20)]
    finally:
        stop.set()
        churning.join(30)
    assert found == [None] * 20


def test_forwarder_and_relay_hold_the_hosts_socket(
    served: Callable[..., tuple[Any, int]], guest: Guest, trace: Callable[..., dict[str, Any]]
) -> None:
    _, port = served()
    socket_hop, forward_hop, *_ = trace(port)["chains"][0]["hops"]
    status = json.loads(guest.control("GET", "/status")[1])
    holders = {process["command"]: process["pid"] for process in socket_hop["facts"]["processes"]}
    assert holders == {"forwarder": status["pid"], "relay": status["relay_pid"]}
    assert forward_hop["facts"]["relay_pid"] == status["relay_pid"]
    assert forward_hop["facts"]["channel_pid"] == status["channel"]["pid"]


def test_every_kind_of_forward_is_whole(
    probe: Callable[..., Any], guest: Guest, trace: Callable[..., dict[str, Any]], image: str
) -> None:
    hosted, by_hand, inside, direct = (free_port() for _ in range(4))
    probe(f"tcp:[::]:{hosted}", network_mode="host")
    answered(hosted, deadline=20)
    container = probe(ports={"7000/tcp": ("127.0.0.1", inside)})
    answered(inside)
    container.reload()
    address = container.attrs["NetworkSettings"]["IPAddress"]
    guest.expose(f"127.0.0.1:{by_hand}", f"127.0.0.1:{inside}")
    guest.expose(f"127.0.0.1:{direct}", f"{address}:7000")
    try:
        for port in (hosted, by_hand, inside, direct):
            found = trace(port)
            assert found["verdict"] is None
            assert found["chains"][0]["hops"]
            socket.create_connection(("127.0.0.1", port), 5).close()
            eventually(lambda port=port: trace(port, "--probe")["verdict"] is None, "a probe that gets through")
    finally:
        guest.unexpose(f"127.0.0.1:{by_hand}")
        guest.unexpose(f"127.0.0.1:{direct}")
