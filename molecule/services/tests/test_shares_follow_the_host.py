"""Shared folders are what the host has at their paths now: replaced, mounted over, gone, back again."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from conftest import OWNER, Run, Share
from probing import as_root
from testinfra.host import Host

from support.waiting import eventually

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that everyone may enter, to make shares in."""
    found = tmp_path_factory.mktemp("place")
    found.chmod(0o755)
    return found


def made(folder: Path, name: str) -> Path:
    """A folder of OWNER's with one file, which says ``name``."""
    folder.mkdir()
    (folder / "name").write_text(f"{name}\n")
    as_root("chown", "-R", f"{OWNER}:{OWNER}", str(folder))
    return folder


@pytest.fixture
def shared(place: Path, share: Share) -> Path:
    """A folder that is shared."""
    found = made(place / "shared", "first")
    assert share(found) == {}
    return found


@pytest.fixture
def disk(shared: Path) -> Iterator[Callable[[Path], None]]:
    """Mounts a file system of its own, with a file ``name``, at a folder of the host."""
    mounted = []

    def mount(folder: Path) -> None:
        as_root("mount", "-t", "tmpfs", "-o", f"uid={OWNER},gid={OWNER},mode=755", "disk", str(folder))
        mounted.append(folder)
        (folder / "name").write_text("disk\n")

    yield mount
    for folder in reversed(mounted):
        subprocess.run(["umount", str(folder)], check=False, capture_output=True)


def refused(run: Run, folder: Path, why: str) -> None:
    with pytest.raises(docker.errors.APIError, match=f"Mounts denied: the path {folder} .*{why}"):
        run(folder, "touch lost")


def shared_anew(run: Run, folder: Path, name: str) -> None:
    """A container has the folder that says ``name``, and what it writes there is on the host."""
    assert run(folder, "cat name; echo new >new") == f"{name}\n0\n"
    assert (folder / "new").read_text() == "new\n"


def test_a_folder_that_is_replaced_is_the_new_one_at_once(shared: Path, place: Path, run: Run) -> None:
    shared_anew(run, shared, "first")
    shared.rename(place / "old")
    made(shared, "second")
    shared_anew(run, shared, "second")


def test_a_folder_above_it_that_is_replaced_is_followed(place: Path, share: Share, run: Run) -> None:
    above = place / "above"
    above.mkdir()
    share(made(above / "in", "first"))
    above.rename(place / "old")
    above.mkdir()
    shared_anew(run, made(above / "in", "second"), "second")


def test_a_folder_that_is_gone_is_refused_until_it_is_back(shared: Path, place: Path, run: Run) -> None:
    shared.rename(place / "away")
    refused(run, shared, "there is no folder")
    refused(run, shared / "in", "there is no folder")
    (place / "away").rename(shared)
    shared_anew(run, shared, "first")


def test_a_disk_that_is_mounted_over_it_is_seen_and_one_that_is_taken_away_too(
    shared: Path, run: Run, disk: Callable[[Path], None]
) -> None:
    disk(shared)
    shared_anew(run, shared, "disk")
    as_root("umount", str(shared))
    assert run(shared, "cat name; ls") == "first\nname\n0\n"


def test_a_disk_below_it_is_refused_by_name_until_it_is_shared_too(
    shared: Path, share: Share, run: Run, disk: Callable[[Path], None]
) -> None:
    below = made(shared / "below", "covered")
    disk(below)
    refused(run, below, "guest_shares")
    assert share(shared, below) == {}
    shared_anew(run, below, "disk")
    assert run(shared, "cat name below/name") == "first\ndisk\n0\n"


def test_a_share_in_another_has_rights_of_its_own_and_outlives_changes_of_the_other(
    shared: Path, place: Path, share: Share, run: Run
) -> None:
    inner = made(shared / "inner", "inner")
    assert share(shared, f"{inner}:ro") == {}
    assert run(shared, "cat inner/name; touch inner/new").startswith(
        "inner\ntouch: cannot touch 'inner/new': Read-only"
    )
    shared.rename(place / "old")
    made(shared, "second")
    made(inner, "inner of the second")
    shared_anew(run, shared, "second")
    assert run(inner, "touch new").endswith("cannot touch 'new': Read-only file system\n1\n")
    share(shared)
    shared_anew(run, inner, "inner of the second")
    share(inner)
    refused(run, shared, "is not shared")
    (inner / "new").unlink()
    shared_anew(run, inner, "inner of the second")


def test_an_empty_folder_of_the_host_stays_when_it_is_shared_no_longer(shared: Path, share: Share, run: Run) -> None:
    (shared / "empty").mkdir()
    share(shared, shared / "empty")
    assert run(shared / "empty", "ls") == "0\n"
    share(shared)
    assert run(shared, "ls") == "empty\nname\n0\n"
    assert (shared / "empty").is_dir()


def test_a_share_is_taken_away_and_given_again(shared: Path, place: Path, share: Share, run: Run) -> None:
    share()
    refused(run, shared, "is not shared")
    assert share(shared) == {}
    shared_anew(run, shared, "first")


def test_a_link_in_its_stead_is_not_followed(shared: Path, place: Path, run: Run) -> None:
    shared.rename(place / "real")
    shared.symlink_to("real")
    refused(run, shared, "link")
    shared.unlink()
    (place / "real").rename(shared)
    shared_anew(run, shared, "first")


@pytest.fixture
def reboot(host: Host, run_dir: Path, engine: docker.DockerClient) -> Callable[[], None]:
    """Reboots the guest from inside."""

    def life() -> Any:
        return json.loads((run_dir / "state.json").read_text())["pid"]

    def run() -> None:
        before = life()
        host.run("reboot")
        eventually(lambda: life() != before, "another life of the guest", 30)
        eventually(engine.ping, "the engine", 30)

    return run


def test_a_folder_that_is_not_there_when_the_guest_starts_is_never_the_guests_memory(
    shared: Path, run: Run, probe: Callable[..., Any], raw_engine: docker.DockerClient, reboot: Callable[[], None]
) -> None:
    line = "touch /work/lost /below/lost; sleep 300"
    binds = [f"{shared}:/work", f"{shared}/below:/below"]
    keeper = probe("-c", line, entrypoint=["sh"], volumes=binds, restart_policy={"Name": "always"})
    shared.rename(shared.with_name("away"))
    reboot()
    refused(run, shared, "there is no folder")
    raw = raw_engine.containers.get(keeper.id)
    eventually(lambda: raw.reload() or raw.status != "restarting", "the engine has tried to start it", 30)
    assert raw.status != "running" or b"Read-only" in raw.logs()
    shared.with_name("away").rename(shared)
    shared_anew(run, shared, "first")
    keeper.restart(timeout=0)
    eventually((shared / "below/lost").exists, "the container writes to the host's folder")


@pytest.fixture
def module(guest_name: str, share: Share) -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs the module guest for the running guest, as it is but for these shares; returns what it answers."""
    folder = Path("/var/lib/portchain") / guest_name
    spec = json.loads(as_root("cat", str(folder / "guest.json")))
    words = {key: value for key, value in spec.items() if key not in ("bundles", "disk", "driver", "run_dir")}
    egress = as_root("cat", str(folder / "policy/egress.json"))

    def run(*shares: Path, options: tuple[str, ...] = ()) -> dict[str, Any]:
        given = json.dumps({**words, "host_access": ["1-65535"], "shares": list(map(str, shares))})
        command = ["ansible", "localhost", "--become", *options, "-m", "guest", "-a", given]
        plain = {name: value for name, value in os.environ.items() if name != "ANSIBLE_FORCE_COLOR"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=PROJECT, env=plain)
        answer = done.stdout.partition("localhost | ")[2]
        return {**json.loads(answer[answer.index("{") : answer.rindex("}") + 1]), "shown": done.stdout}

    yield run
    as_root("sh", "-c", 'printf "%s" "$1" >"$2"', "sh", egress, str(folder / "policy/egress.json"))


def test_the_module_tells_of_a_share_as_it_is_now(place: Path, module: Callable[..., Any], run: Run) -> None:
    folder = made(place / "asked", "asked")
    reason = f"host: {folder}, of guest_shares, cannot be shared: its file system takes no id-mapped mounts"
    as_root("mount", "-t", "proc", "proc", str(folder))
    try:
        assert module(folder)["msg"] == reason
        foretold = module(folder, options=("--check", "--diff"))
        assert (foretold["changed"], f"-{reason}" in foretold["shown"]) == (True, True)
    finally:
        as_root("umount", str(folder))
    assert run(folder, "cat name") == "asked\n0\n"
    assert not module(folder, options=("--check",))["changed"]
    assert not module(folder)["changed"]
