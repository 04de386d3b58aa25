from __future__ import annotations

import os
from pathlib import Path

import pytest

from portchain.guest.services.docker.share_binds import mount_points
from portchain.host.shares import Share, Shares


def test_folders_are_read_in_order_with_the_owners_home() -> None:
    shares = Shares.parse(["~/work", "/srv/data:ro", "/var/www/", "~/work"], "/home/u", 1000, 100)
    assert shares.folders == (Share("/home/u/work"), Share("/srv/data", True), Share("/var/www"))
    assert Shares.parse(["~"], "/home/u").folders == (Share("/home/u"),)
    assert str(shares) == "/home/u/work, /srv/data:ro, /var/www"
    assert Shares.load(shares.dump()) == shares


def test_who_of_the_guest_is_the_owner_stands_with_the_rights() -> None:
    shares = Shares.parse(["/a:user=33", "/b:ro,user=1000", "/c:user=0", "/d:rw"])
    assert shares.folders == (Share("/a", False, 33), Share("/b", True, 1000), Share("/c"), Share("/d"))
    assert str(shares) == "/a:user=33, /b:ro,user=1000, /c, /d"
    assert Shares.load(shares.dump()) == shares


@pytest.mark.parametrize(
    ("words", "message"),
    [
        *(
            ([f"/srv:{option}"], "after the folder comes")
            for option in ("", "user=x", "user=65536", "ro;user=1", "user=-1")
        ),
        (["work"], "'work': not a folder"),
        (["~other/work"], "'~other/work': not a folder"),
        (["/srv/../etc/x"], "not a folder"),
        (["/srv:rx"], "'/srv:rx': after the folder comes :ro"),
        (["/srv:ro", "/srv"], "/srv and /srv:ro are the same folder: share it in one way"),
        *[([own], "the guest has its own there") for own in ("/", "//", "/var", "/etc", "/tmp", "/dev/shm", "/run/x")],
        (["/var/lib/docker/volumes"], "the guest has its own there"),
    ],
)
def test_what_cannot_be_shared_is_refused_by_name(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Shares.parse(words)


def test_a_path_is_in_a_share_or_beside_it() -> None:
    shares = Shares.parse(["/srv/data", "/srv/data/a:ro"])
    holding = {
        **dict.fromkeys(("/srv/data", "/srv/data/ab"), Share("/srv/data")),
        **dict.fromkeys(("/srv/data/a", "/srv/data/a/b"), Share("/srv/data/a", True)),
        **dict.fromkeys(("/srv/database", "/srv", "/"), None),
    }
    assert {path: shares.holding(path) for path in holding} == holding


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
    assert mount_points(table.encode().decode("latin-1")) == ["/run", "/run/a b", "/Å"]
    assert [os.fsencode(point) for point in mount_points(line.format("/x\xff", 1))] == [b"/x\xff"]
