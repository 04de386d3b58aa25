from __future__ import annotations

import os
from pathlib import Path

import pytest

from portchain.guest.services.share_binds import mounted
from portchain.guest.shares import Share, Shares


def test_folders_are_read_in_order_with_the_owners_home() -> None:
    shares = Shares.parse(["~/work", "/srv/data:ro", "/var/www/", "~/work"], "/home/u", 1000, 100)
    assert shares.folders == (Share("/home/u/work"), Share("/srv/data", True), Share("/var/www"))
    assert Shares.parse(["~"], "/home/u").folders == (Share("/home/u"),)
    assert str(shares) == "/home/u/work, /srv/data:ro, /var/www"
    assert Shares.load(shares.dump()) == shares


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["work"], "'work': not a folder"),
        (["~other/work"], "'~other/work': not a folder"),
        (["/srv/../etc/x"], "not a folder"),
        (["/srv:rx"], "'/srv:rx': after the folder comes :ro"),
        (["/srv", "/srv/data:ro"], "/srv/data:ro lies in /srv: share one of them"),
        *[([own], "the guest has its own there") for own in ("/", "//", "/var", "/etc", "/tmp", "/dev/shm", "/run/x")],
        (["/var/lib/docker/volumes"], "the guest has its own there"),
    ],
)
def test_what_cannot_be_shared_is_refused_by_name(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Shares.parse(words)


def test_a_path_is_in_a_share_or_beside_it() -> None:
    shares = Shares.parse(["/srv/data"])
    asked = ("/srv/data", "/srv/data/a/b", "/srv/database", "/srv", "/")
    assert [path for path in asked if shares.has(path)] == ["/srv/data", "/srv/data/a/b"]


def test_links_are_followed_once_by_who_shares(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    shares = Shares.parse([f"{tmp_path}/link:ro"]).resolved()
    assert shares.folders == (Share(f"{tmp_path}/real", True),)
    with pytest.raises(ValueError, match=f"{tmp_path}/gone is not a folder of this machine"):
        Shares.parse([f"{tmp_path}/gone"]).resolved()


def test_a_link_does_not_get_around_what_is_the_guests_own(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    with pytest.raises(ValueError, match="the guest has its own there"):
        Shares.parse([f"{tmp_path}/link"]).resolved()


def test_mounts_are_found_by_their_names_whatever_is_in_them() -> None:
    line = "13 12 8:1 / {} rw shared:{} master:2 - ext4 /dev/x rw\n"
    table = "12 1 0:5 / /run rw - tmpfs tmpfs rw\n" + line.format("/run/a\\040b", 7) + line.format("/Å", 8)
    assert mounted(table.encode().decode("latin-1")) == {"/run/a b": "shared:7", "/Å": "shared:8"}
    assert [os.fsencode(point) for point in mounted(line.format("/x\xff", 1))] == [b"/x\xff"]
