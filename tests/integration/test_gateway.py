from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from portchain.protocol.names import GUEST_NAMES, HOST_NAMES

STAGE = Path(__file__).with_name("gateway_stage.py")
SOURCE = Path(__file__).parents[2] / "src/portchain"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces are made by root")


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[str, str]]:
    """What a guest sees of its gateway on a machine made up for the test."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    shutil.copytree(SOURCE, folder / "portchain", ignore=shutil.ignore_patterns("__pycache__"))
    command = ["unshare", "--mount", "--net", sys.executable, str(STAGE), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    yield json.loads(done.stdout.splitlines()[-1])
    shutil.rmtree(folder)


def test_a_server_of_another_machine_is_reached_by_the_uplink(seen: dict[str, str]) -> None:
    assert seen["far away"] == "here 1, here 1, here 100000, here 1000000"


@pytest.mark.parametrize("kind", ["SOCK_DGRAM", "SOCK_STREAM"])
def test_names_are_those_of_the_host_and_of_its_resolver(seen: dict[str, str], kind: str) -> None:
    assert seen[f"own.test {kind}"] == "192.168.65.2"
    assert seen[f"outside.test {kind}"] == "203.0.113.9"
    assert seen[f"nothing.docker.internal {kind}"] == ""
    assert seen[f"localhost {kind}"] == ""


@pytest.mark.parametrize("kind", ["SOCK_DGRAM", "SOCK_STREAM"])
def test_names_of_docker_desktop_are_the_host_and_the_guest(seen: dict[str, str], kind: str) -> None:
    assert {seen[f"{name} {kind}"] for name in HOST_NAMES} == {"192.168.65.2"}
    assert {seen[f"{name} {kind}"] for name in GUEST_NAMES} == {"192.168.65.3"}


@pytest.mark.parametrize("kind", ["SOCK_DGRAM", "SOCK_STREAM"])
def test_a_name_known_here_has_no_address_from_elsewhere(seen: dict[str, str], kind: str) -> None:
    assert {seen[f"{name} {kind} AAAA"] for name in ("own.test", *HOST_NAMES, *GUEST_NAMES)} == {""}


@pytest.mark.parametrize("kind", ["SOCK_DGRAM", "SOCK_STREAM"])
def test_hundreds_of_questions_at_once_are_answered(seen: dict[str, str], kind: str) -> None:
    assert seen[f"crowd {kind}"] == "400"


@pytest.mark.parametrize("kind", ["SOCK_DGRAM", "SOCK_STREAM"])
def test_a_resolver_that_does_not_answer_is_passed_over(seen: dict[str, str], kind: str) -> None:
    assert seen[f"third resolver {kind}"] == "203.0.113.9"


def test_a_resolver_of_the_guests_own_is_asked_instead(seen: dict[str, str]) -> None:
    assert seen["resolver of the guest's own"] == "203.0.113.10"


def test_a_change_of_etc_hosts_is_taken_over(seen: dict[str, str]) -> None:
    assert seen["own.test after it went"] == ""


def test_another_resolver_is_taken_over(seen: dict[str, str]) -> None:
    assert seen["another resolver, over TCP"] == "203.0.113.10"


def test_the_hosts_loopback_is_reached_as_far_as_the_policy_allows(seen: dict[str, str]) -> None:
    assert seen["allowed"] == "here"
    assert seen["not allowed"] == "ConnectionResetError"


def test_datagrams_of_every_size_are_answered_from_where_they_were_sent(seen: dict[str, str]) -> None:
    assert seen["datagrams"] == "all"
    assert seen["datagrams to nobody"] == "TimeoutError"


def test_the_policy_is_for_datagrams_too(seen: dict[str, str]) -> None:
    assert seen["allowed datagram"] == "all"
    assert seen["datagram not allowed"] == "TimeoutError"


def test_nothing_but_the_gateways_address_leads_to_the_host(seen: dict[str, str]) -> None:
    assert seen["the gateway's other address"] == "ConnectionRefusedError"


def test_programs_that_are_killed_come_back(seen: dict[str, str]) -> None:
    assert seen["after both were killed"] == "here"


def test_the_gateways_programs_have_no_right_that_they_do_not_use(seen: dict[str, str]) -> None:
    net_bind_service, net_admin, sys_admin = 1 << 10, 1 << 12, 1 << 21
    both = net_bind_service | net_admin
    for name, user, effective, bounding, root in (
        ("dnsmasq", 65534, both, both, "full"),
        ("host relay", 65534, 0, 0, "full"),
        ("pasta", 0, net_bind_service | sys_admin, both | sys_admin, "empty"),
    ):
        capabilities = f"capabilities {effective:x} {bounding:x}"
        assert seen[f"rights of {name}"] == f"uid {user}, {capabilities}, no_new_privs 1, root {root}"
