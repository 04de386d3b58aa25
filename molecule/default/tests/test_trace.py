"""The seed's six chains as ``portchain trace`` tells them, held against the seed's facts."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from portchain.trace.collect.evidence_session import Session
from portchain.trace.collect.probe import probe
from portchain.trace.query import Query
from portchain.trace.tracing import trace_port

SCHEMA = json.loads((Path(__file__).parents[3] / "docs/reference/trace.schema.json").read_text())
PORTS = [8080, 49671, 49672, 49673, 49674, 49675]
KINDS = [
    "host-socket",
    "forward",
    "guest-listener",
    "nat",
    "filter",
    "bridge",
    "veth",
    "container",
    "container-socket",
]
# Docs/explanation/trace.md says it: what a client measures and what the hops add up to differ at most so many times.
FACTOR = 3.0
RUNS = 9
# Programs are slower to answer when they have not run for a while, as they are to a probe.
PAUSE = 0.1
TIMED = 5


def trace(guest: str, *options: str) -> dict[str, Any]:
    """What ``portchain trace --json`` prints, held against its schema."""
    command = ["portchain", "trace", "--guest", guest, "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    found: dict[str, Any] = json.loads(done.stdout)
    jsonschema.validate(found, SCHEMA)
    return found


@pytest.mark.parametrize("port", PORTS)
def test_a_chain_of_the_seed(port: int, guest_name: str, seed: dict[str, Any], raw_engine: Any) -> None:
    _, listens, leads_to, bridge, container = next(row for row in seed["chains"] if row[0] == port)
    network = raw_engine.networks.get({"docker0": "bridge", "br-minikube": "minikube"}[bridge])
    facts = seed["containers"][container]
    (chain,) = trace(guest_name, str(port))["chains"]
    hops = {hop["kind"]: hop["facts"] for hop in chain["hops"]}
    assert list(hops) == KINDS
    assert hops["host-socket"]["listen"] == f":{port}"
    assert hops["guest-listener"]["listen"] == listens
    assert [one["command"] for one in hops["guest-listener"]["processes"]] == ["dockerd"]
    assert hops["nat"]["to"] == leads_to
    assert hops["nat"]["rule"].startswith("-A DOCKER ")
    assert hops["bridge"]["name"] == (bridge if bridge == "docker0" else f"br-{network.id[:12]}")
    assert hops["bridge"]["network"] == network.name
    assert hops["veth"]["inner"]["name"] == "eth0"
    assert hops["veth"]["inner"]["mac"] == facts["mac"]
    assert hops["veth"]["inner"]["addresses"][0] == facts["ip"]
    assert hops["container"]["name"] == container
    assert hops["container-socket"]["listen"].endswith(f":{leads_to.rpartition(':')[2]}")
    assert hops["container-socket"]["processes"]


def test_a_probe_is_in_the_json(guest_name: str) -> None:
    (chain,) = trace(guest_name, "--probe", "8080")["chains"]
    assert [hop["kind"] for hop in chain["hops"] if hop["microseconds"] is not None] == [
        "host-socket",
        "forward",
        "veth",
        "container",
        "container-socket",
    ]


def test_all_are_traced_without_a_port(guest_name: str) -> None:
    assert [one["listen"] for one in trace(guest_name)["chains"]] == [f":{port}" for port in PORTS]


def served(port: int) -> float:
    """Seconds from a client's connect to the server's end of stream after the client's own."""
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass
    return time.perf_counter() - began


@pytest.mark.parametrize("port", PORTS)
def test_the_hops_of_a_probe_add_up_to_what_a_client_measures(port: int, guest_name: str) -> None:
    sums: list[float] = []
    measured: list[float] = []
    with Session(guest_name) as session:
        for _ in range(2 * RUNS):  # on a busy machine an answer may pass before it is watched
            (walked,) = trace_port(session, Query(port))[1].chains
            chain = probe(session, walked)
            times = [hop.microseconds for hop in chain.hops if hop.microseconds is not None]
            assert len(times) == TIMED
            assert min(times) >= 0
            assert all(hop.evidence for hop in chain.hops if hop.microseconds is not None)
            assert chain.probe
            if chain.probe["back"] is None:
                continue
            sums.append(sum(times) + chain.probe["back"])
            time.sleep(PAUSE)
            measured.append(served(port) * 1e6)
            if len(sums) == RUNS:
                break
    assert len(sums) == RUNS
    ratio = statistics.median(sums) / statistics.median(measured)
    assert 1 / FACTOR <= ratio <= FACTOR
