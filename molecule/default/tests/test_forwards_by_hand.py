"""Forwards added and removed by hand, with the command and with the module, beside those of the inventory."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[3]
LISTEN = "127.0.0.1:18081"
TARGET = "127.0.0.1:8080"


def page() -> int:
    """The status of the page that the forward leads to."""
    with urllib.request.urlopen(f"http://{LISTEN}/", timeout=5) as answer:
        return int(answer.status)


@pytest.fixture
def portchain(guest_name: str) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs ``portchain forward`` for the guest; what was added is gone afterwards."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["portchain", "forward", "--guest", guest_name, "--json", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    yield run
    run("remove", LISTEN)


@pytest.fixture
def module(guest_name: str) -> Callable[..., dict[str, Any]]:
    """Runs the module port_forward as Ansible does."""

    def run(*options: str, **arguments: str) -> dict[str, Any]:
        given = json.dumps({"guest": guest_name, "listen": LISTEN, **arguments})
        command = ["ansible", "localhost", "--one-line", *options, "-m", "port_forward", "-a", given]
        plain = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=PROJECT, env=plain)
        return dict(json.loads(done.stdout.partition("=> ")[2]))

    return run


def test_the_command_adds_and_removes(portchain: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    added = portchain("add", LISTEN, TARGET)
    assert added.returncode == 0, added.stderr
    assert [(row["listen"], row["target"]) for row in json.loads(added.stdout)] == [(LISTEN, TARGET)]
    assert page() == 200
    assert portchain("add", LISTEN, TARGET).returncode == 1
    assert portchain("remove", LISTEN).returncode == 0
    with pytest.raises(OSError, match="refused"):
        page()
    again = portchain("remove", LISTEN)
    assert (again.returncode, "proxy not found" in again.stderr) == (1, True)


def test_the_command_refuses_what_it_cannot_read(portchain: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    refused = portchain("add", "8081", TARGET)
    assert (refused.returncode, "expected address:port" in refused.stderr) == (2, True)


def test_the_module_is_idempotent_and_foretells(
    module: Callable[..., dict[str, Any]], portchain: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert module("--check", target=TARGET)["changed"]
    assert json.loads(portchain("add", "127.0.0.1:18082", TARGET).stdout)[0]["listen"] == "127.0.0.1:18082"
    portchain("remove", "127.0.0.1:18082")
    assert [module(target=TARGET)["changed"] for _ in range(2)] == [True, False]
    assert page() == 200
    assert [module(state="absent")["changed"] for _ in range(2)] == [True, False]


def test_the_module_names_the_conflict(module: Callable[..., dict[str, Any]]) -> None:
    taken = module(listen=":8080", target=TARGET)
    assert "for container nginx" in taken["msg"]
