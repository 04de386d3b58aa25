"""What a client is told through docker.sock is what the engine itself would tell, but for DIFFERENCES."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from conftest import runner
from probing import Run, cleaned

from portchain.http.blocking_client import get_json
from support.host_ports import free_port, free_ports
from support.waiting import eventually

SOCKETS = ("docker.sock", "engine.sock")
# What is not the same from one run to the next, at one socket either.
VOLATILE = [
    (re.compile(r"\b[0-9a-f]{64}\b"), "<id>"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "<short id>"),
    (re.compile(r"\b(Up|Exited \(\d+\)|Created|About) .*?(ago|second|minute)s?\b( ago)?"), r"\1 <time>"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z?"), "<date>"),
    (re.compile(r"\b(3[2-9]|[4-6]\d)\d{3}\b"), "<random port>"),
    (re.compile(r"\b172\.\d+\.\d+\.\d+"), "<address>"),
    # The client prints this when its own wait is cancelled before it ends: a race inside the client.
    (re.compile(r'\n?time="<date>" level=error msg="error waiting for container: context canceled"'), ""),
]


# What the two say in different words, and why.
DIFFERENCES = {
    "a port is taken on the host before it would be in the guest, and told in Docker Desktop's words": re.compile(
        r"Ports are not available: .*"
        r"|(?:failed to set up container networking: )?driver failed programming external connectivity on endpoint .*"
    ),
}
# Each is typed at both sockets, in an engine that has nothing but the probe. {image} is the probe's, {a} and {b} are
# free ports of the host, one after the other. A line that begins with "!" fails.
SESSIONS: dict[str, list[str]] = {
    "the life of a container": [
        "create --name life -p {a}:7000 {image}",
        "ps -a --format '{{{{.Names}}}}|{{{{.Status}}}}|{{{{.Ports}}}}' --filter name=life",
        "start life",
        "ps --format '{{{{.Names}}}}|{{{{.Status}}}}|{{{{.Ports}}}}' --filter name=life",
        "port life",
        "kill life",
        "wait life",
        "port life",
        "ps -a --format '{{{{.Names}}}}|{{{{.Status}}}}|{{{{.Ports}}}}' --filter name=life",
        "start life",
        "port life 7000",
        "! rm life",
        "rm -f life",
        "! rm life",
    ],
    "a port that another container has": [
        "run -d --name first -p {a}:7000 {image}",
        "! run -d --name second -p {a}:7000 {image}",
        "ps -a --format '{{{{.Names}}}}|{{{{.Status}}}}|{{{{.Ports}}}}' --filter name=second",
        "inspect --format '{{{{.State.Status}}}}|{{{{.State.ExitCode}}}}|{{{{.State.Error}}}}' second",
        "! start second",
        "rm -f first",
        "start second",
        "port second",
        "inspect --format '{{{{.State.Status}}}}|{{{{.State.ExitCode}}}}|{{{{.State.Error}}}}' second",
    ],
    "a taken port for a container that is to be removed": [
        "run -d --name first -p {a}:7000 {image}",
        "! run --rm --name second -p {a}:7000 {image} tcp:[::]:7000",
        "! run -d --rm --name second -p {a}:7000 {image}",
        "ps -a --format {{{{.Names}}}} --filter name=second",
    ],
    "a taken port of UDP": [
        "run -d --name first -p 127.0.0.1:{a}:7000/udp {image}",
        "! run --rm --name second -p {a}:7000/udp {image}",
        "run --rm --name third --entrypoint true -p 127.0.0.2:{a}:7000/udp {image}",
        "run --rm --name fourth --entrypoint true -p {a}:7000/tcp {image}",
    ],
    "one port of the host twice": [
        "! run -d --name twice -p {a}:7000 -p {a}:7001 {image}",
        "! run -d --name other -p {a}:7000 -p 127.0.0.1:{a}:7001 {image}",
        "! run -d --name udp -p {b}:7000/udp -p {b}:7001/udp {image}",
        "run -d --name both -p {b}:7000/tcp -p {b}:7000/udp {image}",
        "ps -a --format '{{{{.Names}}}}|{{{{.Status}}}}' --filter ancestor={image}",
    ],
    "one port after the other": [
        "run -d --name one -p {a}:7000 --entrypoint true {image}",
        "wait one",
        "run -d --name two -p {a}:7000 --entrypoint true {image}",
        "wait two",
        "start one",
        "wait one",
        "start -a two",
    ],
    "all exposed ports": [
        "run -d --name all -P {image}",
        "inspect --format '{{{{.HostConfig.PublishAllPorts}}}}|{{{{json .HostConfig.PortBindings}}}}' all",
        "port all 7000/tcp",
        "port all 7000/udp",
        "create --name none -P --entrypoint true {image}",
        "inspect --format '{{{{.HostConfig.PublishAllPorts}}}}|{{{{json .HostConfig.PortBindings}}}}' none",
    ],
    "ranges": [
        "run -d --name one -p {a}-{b}:7000 {image}",
        "run -d --name two -p {a}-{b}:7000 {image}",
        "! run -d --name three -p {a}-{b}:7000 {image}",
        "stop -t 0 one two",
        "run -d --name four -p {a}-{b}:7000 {image}",
        "ps --format {{{{.Names}}}} --filter ancestor={image}",
    ],
    "labels": [
        "run -d --name labelled --label mine=1 -p {a}:7000 {image}",
        "inspect --format '{{{{json .Config.Labels}}}}' labelled",
        "ps --format '{{{{.Names}}}}|{{{{.Labels}}}}' --filter name=labelled",
        "commit labelled labelled:1",
        "inspect --format '{{{{json .Config.Labels}}}}|{{{{json .Config.ExposedPorts}}}}' labelled:1",
        "ps --format {{{{.Names}}}} --filter label=mine",
        "rmi labelled:1",
    ],
    "another name": [
        "run -d --name before -p {a}:7000 {image}",
        "rename before after",
        "! port before",
        "port after",
        "ps --format '{{{{.Names}}}}|{{{{.Ports}}}}' --filter name=after",
        "! run -d --name other -p {a}:7000 {image}",
    ],
    "networks that publish nothing": [
        "run -d --name first -p {a}:7000 {image}",
        "network create --internal inside",
        "run -d --name internal --network inside -p {a}:7000 {image}",
        "port internal",
        "run -d --name none --network none -p {a}:7000 {image}",
        "port none",
        "run -d --name host --network host -p {a}:7000 {image}",
        "port host",
        "ps --format '{{{{.Names}}}}|{{{{.Ports}}}}' --filter ancestor={image}",
    ],
    "a network more and less": [
        "network create more",
        "run -d --name both -p {a}:7000 {image}",
        "network connect more both",
        "port both",
        "network disconnect bridge both",
        "port both",
        "network disconnect more both",
        "port both",
        "network connect more both",
        "port both",
    ],
    "what ends by itself": [
        "! run --name ends -p {a}:7000 --entrypoint sh {image} -c 'exit 7'",
        "! run --rm -p {a}:7000 --entrypoint sh {image} -c 'exit 8'",
        "inspect --format {{{{.State.ExitCode}}}} ends",
        "! start -a ends",
        "ps -a --format '{{{{.Names}}}}|{{{{.Status}}}}' --filter name=ends",
    ],
    "what cannot start": [
        "! run --name command -p {a}:7000 --entrypoint /nothing {image}",
        "ps -a --format '{{{{.Names}}}}|{{{{.Status}}}}' --filter name=command",
        "! run --rm -p {a}:7000 --entrypoint /nothing {image}",
        "run -d --name after -p {a}:7000 {image}",
        "! start nobody",
        "! port nobody",
        "! inspect nobody",
        "! run --rm -p 70000:7000 {image}",
        "! run --rm -p {a}:7000/sctq {image}",
        "! run --rm -p 300.1.1.1:{a}:7000 {image}",
    ],
    "filters": [
        "run -d --name wanted -p {a}:7000 -p 7001 {image}",
        "ps --format {{{{.Names}}}} --filter publish={a}",
        "ps --format {{{{.Names}}}} --filter publish={a}/udp",
        "ps --format {{{{.Names}}}} --filter publish={a}-{b}/tcp",
        "! ps --format {{{{.Names}}}} --filter publish=nonsense",
        "ps --format {{{{.Names}}}} --filter expose=7001",
        "! ps --format {{{{.Names}}}} --filter nonsense=1",
    ],
}


@pytest.fixture
def at_socket(debians: Path, engine: docker.DockerClient, run_dir: Path, tmp_path: Path) -> Iterator[Any]:
    """Runs the docker command at one of the guest's sockets."""

    def run(socket: str) -> Run:
        return runner([str(debians / "docker"), "--host", f"unix://{run_dir}/{socket}"], run_dir, tmp_path)

    yield run


def said(run: Run, lines: list[str], image: str) -> list[str]:
    """What the commands print and how they end, without what differs from run to run."""
    numbers = dict(zip("ab", free_ports(2), strict=True))
    told = []
    for line in lines:
        done = run(*shlex.split(line.lstrip("! ").format(image=image, **numbers)), rc=None)
        assert (done.returncode != 0) == line.startswith("!"), (line, done)
        text = f"$ docker {line}\n{done.stdout}{done.stderr}ended with {done.returncode}"
        for name, port in numbers.items():
            text = re.sub(rf"\b{port}\b", f"<port {name}>", text)
        for pattern, replacement in VOLATILE:
            text = pattern.sub(replacement, text)
        told.append(text)
    return told


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_is_told_the_same(
    name: str, at_socket: Callable[[str], Run], engine: docker.DockerClient, image: str, capsys: Any
) -> None:
    told = []
    for socket in SOCKETS:
        with cleaned(engine):
            told.append(said(at_socket(socket), SESSIONS[name], image))
    for why, words in DIFFERENCES.items():
        same = [[words.sub("<known difference>", text) for text in side] for side in told]
        if told[0] != told[1] and same != told:
            with capsys.disabled():
                print(f"\n{name}: other words at docker.sock: {why}")
        told = same
    ours, theirs = told
    lines = ("\n".join(side).splitlines() for side in (theirs, ours))
    assert not (diff := "\n".join(difflib.unified_diff(*lines, *reversed(SOCKETS), n=4, lineterm=""))), diff


def test_a_container_is_described_the_same(
    engine: docker.DockerClient, image: str, probe: Callable[..., Any], run_dir: Path
) -> None:
    port = free_port()
    container = probe(ports={"7000/tcp": port}, labels={"mine": "1"})
    ours, theirs = (get_json(str(run_dir / socket), f"/containers/{container.id}/json", 10) for socket in SOCKETS)
    assert ours["HostConfig"].pop("PortBindings") == {"7000/tcp": [{"HostIp": "", "HostPort": str(port)}]}
    theirs["HostConfig"].pop("PortBindings")
    ours["NetworkSettings"].pop("Ports")
    theirs["NetworkSettings"].pop("Ports")
    assert ours == theirs


@pytest.mark.parametrize("path", ["/images/json", "/networks", "/volumes", "/version", "/containers/json?all=1"])
def test_what_has_no_ports_is_the_same(run_dir: Path, path: str) -> None:
    def same() -> bool:
        ours, theirs = (get_json(str(run_dir / socket), path, 10) for socket in SOCKETS)
        if isinstance(ours, list):  # which the engine gives in any order
            ours, theirs = (sorted(found, key=lambda entry: str(entry["Id"])) for found in (ours, theirs))
        return bool(ours == theirs)

    eventually(same, f"the same {path} at both sockets, one asked a moment after the other")
