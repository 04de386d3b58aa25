"""A docker context is written with its owner's rights and no others, by root too."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from portchain.host.docker_context import DockerContexts, acting_as, context_metadata

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root acts as another user")

OWNER = 4711
WANTED = {"portchain": context_metadata("portchain", "linuxkit", Path("/run/portchain/linuxkit/docker.sock"))}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """OWNER's home; that user need not be there."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    found = tmp_path / "home"
    found.mkdir()
    os.chown(found, OWNER, OWNER)
    return found


@pytest.fixture
def owner(home: Path) -> pwd.struct_passwd:
    """OWNER's line in /etc/passwd."""
    return pwd.struct_passwd(("owner", "x", OWNER, OWNER, "", str(home), "/bin/sh"))


def test_all_of_it_is_the_owners(home: Path, owner: pwd.struct_passwd) -> None:
    before = os.geteuid(), os.getegid(), os.getgroups()
    with acting_as(owner):
        DockerContexts(home / ".docker", "linuxkit").put(WANTED)
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before
    made = [home / ".docker", *(home / ".docker").rglob("*")]
    assert len(made) == 5
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(OWNER, OWNER)}
    assert (home / ".docker").stat().st_mode & 0o777 == 0o700


def test_a_link_of_the_owners_leads_root_nowhere(home: Path, owner: pwd.struct_passwd, tmp_path: Path) -> None:
    roots = tmp_path / "roots"
    roots.mkdir(0o700)
    (home / ".docker").symlink_to(roots)
    with pytest.raises(PermissionError), acting_as(owner):
        DockerContexts(home / ".docker", "linuxkit").put(WANTED)
    assert list(roots.iterdir()) == []
