"""allowlist: what is not allowed is refused with a sentence, at DNS and at the proxy; the rest is left alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest
from conftest import Ask
from outside import Proxy
from probing import as_root
from testinfra.host import Host

from support.waiting import eventually

PROGRAMS = ("allowlist", "dns-forwarder", "tinyproxy")
PROJECT = Path(__file__).parents[3]
REFUSED = "is not allowed: the guest's allowlist (guest_allowlist) has"


@pytest.fixture
def known(run_dir: Path) -> str:
    """A name of the host's own, which the guest resolves."""
    return (run_dir / "hosts").read_text().split()[1]


def test_a_registry_is_refused_and_another_is_not(
    engine: docker.DockerClient, proxy: Proxy, go_by: Callable[..., None]
) -> None:
    go_by(allowlist=["registry.test"], http_proxy=f"http://127.0.0.1:{proxy.port}")
    with pytest.raises(docker.errors.APIError) as refused:
        engine.images.pull("other.test/hello", tag="1")
    assert f"other.test {REFUSED} registry.test" in refused.value.explanation
    assert proxy.asked == []
    engine.images.pull("registry.test/hello", tag="1")
    engine.images.remove("registry.test/hello:1")
    assert set(proxy.asked) == {"CONNECT registry.test:443"}


@pytest.mark.parametrize("inside", ["guest", "container"])
def test_a_name_is_refused_and_another_is_not(
    ask: Ask, engine: docker.DockerClient, go_by: Callable[..., None], known: str, inside: str
) -> None:
    container = engine.containers.get("probe") if inside == "container" else None
    address = eventually(lambda: ask(known, container=container)["addresses"], f"{known} in the {inside}")
    go_by(allowlist=["quay.io"])
    eventually(lambda: ask(known, container=container)["reason"], f"{known} refused in the {inside}")
    for transport in ("udp", "tcp"):
        refused = {"status": 3, "addresses": [], "records": 0, "texts": [], "reason": f"{known} {REFUSED} quay.io"}
        assert ask(known, 1, transport, container) == refused
        assert ask(known, 16, transport, container)["texts"] == [f"{known} {REFUSED} quay.io"]
        assert ask("host.docker.internal", 1, transport, container)["addresses"] == ["192.168.65.2"]
    go_by(allowlist=["quay.io", known])
    eventually(lambda: ask(known, container=container)["addresses"] == address, f"{known} allowed in the {inside}")
    assert ask(known, 1, "tcp", container)["addresses"] == address


def test_a_name_stands_for_itself_and_a_wildcard_for_what_is_below(
    ask: Ask, go_by: Callable[..., None], known: str
) -> None:
    go_by(allowlist=[known, "*.wild.test"])
    eventually(lambda: ask("wild.test")["reason"], "wild.test refused")
    assert {name: bool(ask(name)["reason"]) for name in (known, f"sub.{known}", "a.wild.test", "awild.test")} == {
        known: False,
        f"sub.{known}": True,
        "a.wild.test": False,
        "awild.test": True,
    }


def test_a_page_says_why(engine: docker.DockerClient, go_by: Callable[..., None]) -> None:
    go_by(allowlist=["quay.io"])
    script = """
import urllib.request, urllib.error
try:
    urllib.request.build_opener(urllib.request.ProxyHandler({"http": "http.docker.internal:3128"})).open("http://other.test/")
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""
    status, output = engine.containers.get("probe").exec_run(["python3", "-c", script])
    assert (status, output.decode().strip()) == (0, f"403 other.test {REFUSED} quay.io")


def test_nothing_is_allowed_while_the_file_cannot_be_read(host: Host, ask: Ask, known: str, guest_name: str) -> None:
    path = f"/var/lib/portchain/{guest_name}/policy/egress.json"
    before = as_root("cat", path)
    try:
        as_root("sh", "-c", f"echo garbage >{path}")
        eventually(lambda: ask(known)["reason"], f"{known} refused")
        assert "nothing outside is allowed" in host.file("/var/log/allowlist.log").content_string
    finally:
        as_root("sh", "-c", 'printf "%s" "$1" >"$2"', "sh", before, path)
    eventually(lambda: ask(known)["addresses"], f"{known} allowed")


@pytest.fixture
def play(guest_name: str, pytestconfig: pytest.Config, go_by: Callable[..., None]) -> Callable[..., str]:
    """Runs the guest's playbook with other variables; `go_by` puts the file back."""
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        "playbooks/guest.yml",
        "--tags",
        "guest",
        "--diff",
    ]
    command += ["-i", pytestconfig.getoption("--ansible-inventory"), "--limit", guest_name]

    def run(**variables: Any) -> str:
        more = ["--extra-vars", json.dumps(variables)]
        done = subprocess.run([*command, *more], cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_inventory_changes_it_while_the_guest_runs(
    play: Callable[..., str], host: Host, ask: Ask, known: str, run_dir: Path
) -> None:
    def running() -> tuple[int, set[int]]:
        state = json.loads((run_dir / "state.json").read_text())
        programs = [process.pid for name in PROGRAMS for process in host.process.filter(comm=name)]
        assert len(programs) == len(PROGRAMS)
        return state["pid"], set(programs)

    before = running()
    said = play(guest_allowlist=["quay.io"], guest_http_proxy="http://me:sesame@127.0.0.1:3128")
    assert "quay.io" in said
    assert "sesame" not in said
    eventually(lambda: ask(known)["reason"], f"{known} refused")
    assert running() == before
