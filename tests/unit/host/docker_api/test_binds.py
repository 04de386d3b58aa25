from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from portchain.host.docker_api.bind_sides import BindChecker
from portchain.host.docker_api.binds import NotSharedError, check
from portchain.host.shares import Share, Shares, within
from portchain.linux.blocking_calls import BlockingCalls

SHARES = Shares.parse(["/home/u", "/srv/data:ro"])
LINKS = {
    "/home/u/sock": "/run/pc/docker.sock",
    "/var/run/pc/docker.sock": "/run/pc/docker.sock",
    "/home/u/out": "/etc/secret",
    "/home/u/in": "/home/u/work",
    "/alias/work": "/home/u/work",
}
SOCKETS = {"/run/pc/docker.sock": "/run/pc/docker.sock", "/tmp/agent": "/run/agent", "/run/no-agent": ""}
IN_GUEST = {"/run/pc/docker.sock", "/var/run/pc/docker.sock", "/etc/hosts", "/var/run/docker.sock", "/srv", "/tmp"}


class Sides:
    async def real_paths(self, paths: Sequence[str]) -> Sequence[str]:
        return [LINKS.get(path, path) for path in paths]

    async def in_guest(self, path: str) -> bool:
        return path in IN_GUEST

    async def why_not_same(self, path: str, share: Share, owner: int) -> str:
        return f"{share} is gone" if within(path, "/home/u/gone") else ""


def checked(create: dict[str, Any]) -> dict[str, Any]:
    asyncio.run(check(create, SHARES, Sides(), SOCKETS))
    return create


def binds(*words: str) -> dict[str, Any]:
    return {"HostConfig": {"Binds": list(words)}}


@pytest.mark.parametrize(
    "source",
    [
        *("/home/u", "/home/u/work", "/home/u/new", "/srv/data/x", "/", "//", "/dev/fuse", "/proc", "/sys/fs/cgroup"),
        *("/lib/modules", "/var/lib/docker/volumes/v", "/etc/hosts", "/var/run/docker.sock", "volume"),
    ],
)
def test_what_is_shared_and_what_is_the_guests_own_is_left_alone(source: str) -> None:
    assert checked(binds(f"{source}:/w:ro")) == binds(f"{source}:/w:ro")


@pytest.mark.parametrize("source", ["/srv", "/srv/x", "/home/v", "/home/u2", "/tmp", "/etc/nginx", "/home/u/../v"])
@pytest.mark.parametrize("form", ["Binds", "Mounts"])
def test_what_is_not_shared_is_refused_with_the_way_out(source: str, form: str) -> None:
    value = f"{source}:/w" if form == "Binds" else {"Type": "bind", "Source": source, "Target": "/w"}
    with pytest.raises(NotSharedError, match=r"^Mounts denied: .* not shared.*guest_shares.*site\.yml.*/srv/data:ro$"):
        checked({"HostConfig": {form: [value]}})


@pytest.mark.parametrize("form", ["Binds", "Mounts"])
def test_a_path_without_end_is_refused_in_a_few_words(form: str) -> None:
    source = "/" + "a/" * 400_000
    value = f"{source}:/w" if form == "Binds" else {"Type": "bind", "Source": source}
    with pytest.raises(NotSharedError, match="has more than 4095 bytes") as refused:
        checked({"HostConfig": {form: [value]}})
    assert len(str(refused.value)) < 500


def test_a_file_system_that_does_not_answer_is_an_error_of_one_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, resolve = threading.Event(), os.path.realpath

    def real_path(path: str, **options: bool) -> str:
        if path == "/dead":
            answers.wait(10)
        return resolve(path, **options)

    async def ask() -> None:
        checker = BindChecker(tmp_path, tmp_path, str(tmp_path / "none"), BlockingCalls(seconds=0.5))
        with pytest.raises(TimeoutError, match="the file system of one of 1 bind mounts does not answer"):
            await checker.check_binds(binds("/dead:/x"))
        await checker.check_binds(binds("/dev/null:/x"))

    monkeypatch.setattr(os.path, "realpath", real_path)
    asyncio.run(ask())
    answers.set()


def test_more_bind_mounts_than_any_container_has_are_refused() -> None:
    assert checked(binds(*["/home/u:/w"] * 1000))
    with pytest.raises(NotSharedError, match="at most 1000"):
        checked(binds(*["/home/u:/w"] * 1001))


def test_a_link_in_a_share_leads_where_it_does_on_the_host() -> None:
    create = checked(binds("/home/u/in:/w", "/alias/work:/v:ro"))
    assert create == binds("/home/u/work:/w", "/home/u/work:/v:ro")
    mount = {"Type": "bind", "Source": "/home/u/in"}
    assert checked({"HostConfig": {"Mounts": [mount]}})["HostConfig"]["Mounts"][0]["Source"] == "/home/u/work"


def test_a_link_out_of_a_share_is_refused_and_not_followed_in_words() -> None:
    with pytest.raises(NotSharedError, match="/home/u/out leads, by a link, out") as refused:
        checked(binds("/home/u/out:/w"))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("source", "real"),
    [
        *((known, known) for known in ("/run/pc/docker.sock", "/var/run/pc/docker.sock")),
        ("//run/pc/./docker.sock", "//run/pc/./docker.sock"),
        ("/home/u/sock", "/run/pc/docker.sock"),
        ("/tmp/agent", "/run/agent"),
    ],
)
def test_the_hosts_sockets_are_the_guests_own(source: str, real: str) -> None:
    assert checked(binds(f"{source}:/s:ro")) == binds(f"{real}:/s:ro")
    mount = {"Type": "bind", "Source": source, "ReadOnly": True}
    mounts = [{**mount, "Source": real}]
    assert checked({"HostConfig": {"Mounts": [mount]}}) == {"HostConfig": {"Mounts": mounts}}


def test_an_agent_that_is_not_offered_is_refused_by_name() -> None:
    with pytest.raises(NotSharedError, match="guest_ssh_agent in the inventory"):
        checked(binds("/run/no-agent:/s"))


def test_what_is_not_the_same_in_the_guest_is_refused_by_name() -> None:
    with pytest.raises(NotSharedError, match=r"is not in the guest: /home/u is gone$"):
        checked(binds("/home/u/gone/x:/w"))


@pytest.mark.parametrize("create", [{}, {"HostConfig": None}, {"HostConfig": {"Binds": None, "Mounts": []}}])
def test_nothing_asked_is_nothing_checked(create: dict[str, Any]) -> None:
    assert checked(dict(create)) == create


def test_volumes_and_scratch_are_not_looked_at() -> None:
    create = {"HostConfig": {"Mounts": [{"Type": "volume", "Source": "v"}, {"Type": "tmpfs", "Target": "/t"}]}}
    assert checked(create) == create
