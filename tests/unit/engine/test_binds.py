from __future__ import annotations

import asyncio
from typing import Any

import pytest

from portchain.engine.binds import NotSharedError, check
from portchain.guest.shares import Shares

SHARES = Shares.parse(["/home/u", "/srv/data:ro"])
LINKS = {"/home/u/out": "/etc/secret", "/home/u/in": "/home/u/work", "/alias/work": "/home/u/work"}
IN_GUEST = {"/etc/hosts", "/var/run/docker.sock", "/srv", "/tmp"}


def checked(create: dict[str, Any]) -> dict[str, Any]:
    async def known(path: str) -> bool:
        return path in IN_GUEST

    asyncio.run(check(create, SHARES, lambda path: LINKS.get(path, path), known))
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


def test_a_link_in_a_share_leads_where_it_does_on_the_host() -> None:
    create = checked(binds("/home/u/in:/w", "/alias/work:/v:ro"))
    assert create == binds("/home/u/work:/w", "/home/u/work:/v:ro")
    mount = {"Type": "bind", "Source": "/home/u/in"}
    assert checked({"HostConfig": {"Mounts": [mount]}})["HostConfig"]["Mounts"][0]["Source"] == "/home/u/work"


def test_a_link_out_of_a_share_is_refused_and_not_followed_in_words() -> None:
    with pytest.raises(NotSharedError, match="/home/u/out leads, by a link, out") as refused:
        checked(binds("/home/u/out:/w"))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("create", [{}, {"HostConfig": None}, {"HostConfig": {"Binds": None, "Mounts": []}}])
def test_nothing_asked_is_nothing_checked(create: dict[str, Any]) -> None:
    assert checked(dict(create)) == create


def test_volumes_and_scratch_are_not_looked_at() -> None:
    create = {"HostConfig": {"Mounts": [{"Type": "volume", "Source": "v"}, {"Type": "tmpfs", "Target": "/t"}]}}
    assert checked(create) == create
