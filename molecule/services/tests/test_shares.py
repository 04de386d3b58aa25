"""The host's folders in containers: whose files are there, what is not shared, and what a guest gains by it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from conftest import OWNER, Run, Share
from docker.types import Mount
from probing import as_root
from testinfra.host import Host

from portchain.host.live_settings import LiveSettings
from portchain.host.shares import Shares

STRANGER = 4712


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, share: Share, run_dir: Path) -> Iterator[Path]:
    """A folder that is shared; the guest is not started anew for it."""
    before = (run_dir / "state.json").read_text()
    found = tmp_path_factory.mktemp("shared")
    found.chmod(0o755)
    assert share(found) == {}
    yield found
    assert (run_dir / "state.json").read_text() == before


@pytest.fixture
def folder(shared: Path, request: pytest.FixtureRequest) -> Path:
    """A folder of OWNER's in it."""
    found = shared / str(abs(hash(request.node.name)))
    found.mkdir()
    (found / "own").write_text("of the owner\n")
    as_root("chown", "-R", f"{OWNER}:{OWNER}", str(found))
    return found


def owner(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid


def test_the_home_of_who_runs_the_guest_is_shared_by_default_but_for_roots(guest_name: str) -> None:
    live = LiveSettings.load(Path("/var/lib/portchain") / guest_name)
    home, user = Path.home().resolve(), pwd.getpwuid(os.getuid())
    assert live.shares == Shares.parse([str(home)] if user.pw_uid else [], uid=user.pw_uid, gid=user.pw_gid)


def test_what_root_writes_in_a_container_is_the_owners_on_the_host(folder: Path, run: Run) -> None:
    assert run(folder, "cat own; echo new >new; mkdir -p a/b; ln -s new link; stat -c %u:%g own new") == (
        "of the owner\n0:0\n0:0\n0\n"
    )
    assert (folder / "new").read_text() == "new\n"
    assert {owner(folder / name) for name in ("own", "new", "a/b", "link")} == {(OWNER, OWNER)}
    (folder / "new").write_text("from the host\n")
    assert run(folder, "cat new") == "from the host\n0\n"


def test_other_users_of_a_container_work_with_ids_of_the_guests_own(folder: Path, run: Run, state: Any) -> None:
    base = int(Path(f"/proc/{state['pid']}/uid_map").read_text().split()[1])
    assert run(folder, "mkdir -m 1777 all; touch of; chown 999:65534 of; stat -c %u:%g of") == "999:65534\n0\n"
    assert run(folder, "touch all/mine; echo mine >>all/mine; stat -c %u:%g all/mine", user="1000:1000") == (
        "1000:1000\n0\n"
    )
    assert owner(folder / "of") == (base + 999, base + 65534)
    assert owner(folder / "all/mine") == (base + 1000, base + 1000)


@pytest.mark.parametrize("user", ["33:33", "1000:1000"])
def test_a_user_other_than_root_is_the_owner_where_the_share_says_so(
    folder: Path, shared: Path, share: Share, run: Run, user: str
) -> None:
    (folder / "own").chmod(0o600)
    assert "Permission denied" in run(folder, "cat own; touch new", user=user)
    assert share(f"{shared}:user={user.partition(':')[0]}") == {}
    try:
        line = "cat own; echo more >>own; mkdir -p a/b; echo mine >a/new; mv a/new a/b/; chmod 640 own"
        assert run(folder, f"{line}; stat -c %u:%g own a", user=user) == f"of the owner\n{user}\n{user}\n0\n"
        assert "Operation not permitted" in run(folder, "chown 0:0 own", user=user)
        assert {owner(folder / name) for name in ("own", "a", "a/b", "a/b/new")} == {(OWNER, OWNER)}
        assert (folder / "a/b/new").read_text() == "mine\n"
        line = f"echo of root >>own; cat own; touch given; chown {user} given; rm -r a"
        assert run(folder, line) == "of the owner\nmore\nof root\n0\n"
        assert {owner(folder / name) for name in ("own", "given")} == {(OWNER, OWNER)}
    finally:
        share(shared)
    assert run(folder, "stat -c %u:%g own") == "0:0\n0\n"


def test_what_root_makes_where_another_is_the_owner_is_an_id_of_the_guests_own(
    folder: Path, shared: Path, share: Share, run: Run, state: Any
) -> None:
    base = int(Path(f"/proc/{state['pid']}/uid_map").read_text().split()[1])
    share(f"{shared}:user=1000")
    try:
        assert run(folder, "touch roots; stat -c %u:%g roots") == "0:0\n0\n"
        assert owner(folder / "roots") == (base, base)
        assert run(folder, "rm roots", user="1000:1000") == "0\n"
    finally:
        share(shared)


def test_files_of_the_hosts_other_users_stay_theirs(folder: Path, run: Run) -> None:
    for name, mode in (("secret", 0o600), ("readable", 0o644)):
        (folder / name).write_text("of a stranger\n")
        (folder / name).chmod(mode)
        as_root("chown", f"{STRANGER}:{STRANGER}", str(folder / name))
    words = {"privileged": True}
    assert "Permission denied" in run(folder, "cat secret", **words)
    assert run(folder, "cat readable", **words) == "of a stranger\n0\n"
    for line in ("echo x >>readable", "chown 0:0 readable", "chmod 666 readable"):
        assert not run(folder, line, **words).endswith("\n0\n"), line
    assert owner(folder / "readable") == (STRANGER, STRANGER)
    assert (folder / "readable").read_text() == "of a stranger\n"


def test_a_setuid_file_made_in_a_container_is_the_owners_and_does_nothing(folder: Path, run: Run) -> None:
    assert run(folder, "cp /usr/bin/id id; chmod 6755 id; stat -c %a id") == "6755\n0\n"
    assert owner(folder / "id") == (OWNER, OWNER)
    assert run(folder, "./id -u", user="1000:1000", privileged=True) == "1000\n0\n"


def test_device_nodes_cannot_be_made_nor_used(folder: Path, run: Run) -> None:
    as_root("mknod", "-m", "666", str(folder / "zero"), "c", "1", "5")
    as_root("chown", f"{OWNER}:{OWNER}", str(folder / "zero"))
    assert "Permission denied" in run(folder, "head -c 1 zero", privileged=True)
    assert "Operation not permitted" in run(folder, "mknod disk b 7 0", privileged=True)


def test_a_folder_for_reading_only_without_the_guards_being_taken_off(
    folder: Path, shared: Path, share: Share, run: Run, host: Host
) -> None:
    for words in ("suid,nodev", "nosuid,dev"):
        assert host.run(f"mount -o remount,bind,{words} {shared}").rc != 0
    share(f"{shared}:ro")
    try:
        assert run(folder, "cat own; touch new").startswith("of the owner\ntouch: cannot touch 'new': Read-only")
        assert host.run(f"mount -o remount,bind,nosuid,nodev,rw {shared}").rc != 0
    finally:
        share(shared)


@pytest.mark.parametrize("form", ["volumes", "mounts"])
def test_a_folder_that_is_not_shared_is_an_error(
    folder: Path, tmp_path: Path, form: str, engine: docker.DockerClient, image: str
) -> None:
    (folder / "out").symlink_to(tmp_path)
    for source, why in ((tmp_path, "is not shared from the host"), (folder / "out", "leads, by a link, out")):
        value = f"{source}:/work" if form == "volumes" else Mount("/work", str(source), type="bind")
        with pytest.raises(docker.errors.APIError, match=rf"Mounts denied: the path {source} {why}.*guest_shares"):
            engine.containers.create(image, **{form: [value]})


def test_what_is_shared_no_longer_stays_with_the_containers_that_have_it(
    folder: Path, shared: Path, tmp_path: Path, share: Share, probe: Callable[..., Any]
) -> None:
    keeper = probe("300", entrypoint=["sleep"], volumes=[f"{folder}:/work"])
    share(tmp_path)
    try:
        probe("300", entrypoint=["sleep"], volumes=[f"{tmp_path}:/work"])
        with pytest.raises(docker.errors.APIError, match=f"{folder} is not shared .* Shared now: {tmp_path}"):
            probe(volumes=[f"{folder}:/work"])
        assert keeper.exec_run(["cat", "/work/own"]).output == b"of the owner\n"
        keeper.kill()
        with pytest.raises(docker.errors.APIError, match=f"{folder} is not shared"):
            keeper.start()
    finally:
        share(shared)


def test_guest_and_engine_have_it_at_the_same_path(folder: Path, host: Host, in_engine: Callable[[str], str]) -> None:
    assert host.file(str(folder / "own")).content_string == "of the owner\n"
    assert in_engine(f"cat {folder}/own") == "of the owner\n"
