"""A guest as its owner describes it, with an image of the owner's own: onboot, services, files, onshutdown."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from portchain.host import guests
from portchain.host.guest_spec import GuestSpec
from portchain.image.docker_archive import write_archive
from support.waiting import eventually

from .plays import PROJECT, play

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="a guest is booted by root"),
    pytest.mark.usefixtures("images"),
]
EXAMPLE = PROJECT / "docs/howto/examples/own-service.yml"
PORTCHAIN = str(Path(sys.executable).with_name("portchain"))


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, and before all else a container of an image on disk."""
    folder = tmp_path_factory.mktemp("guest")
    (folder / "root/bin").mkdir(parents=True)
    busybox = next(Path("/var/cache/portchain/images").glob("guest-*/usr/bin/busybox"))
    shutil.copy(busybox, folder / "root/bin/busybox")
    config = {"Entrypoint": ["/bin/busybox", "echo"], "Cmd": ["from", "the", "image"], "User": "1234"}
    write_archive(folder / "root", "own/box:1", config, folder / "box.tar")
    guest = yaml.safe_load(EXAMPLE.read_text())
    guest["onboot"].insert(0, {"name": "box", "image": "./box.tar", "readonly": True})
    guest["onboot"].append({"name": "wrong", "image": "services", "command": ["false"]})
    (folder / "guest.yml").write_text(yaml.safe_dump(guest))
    return folder / "guest.yml"


@pytest.fixture(scope="module", autouse=True)
def guest(described: Path) -> Iterator[None]:
    """It runs."""
    play("site.yml", "--extra-vars", f"guest_services_yaml={described}")
    yield
    play("playbooks/teardown.yml")


def inside(command: str) -> str:
    """What a command prints in the guest."""
    ssh = ["ssh", "-F", "/run/portchain/trace/ssh_config", "trace", command]
    return subprocess.run(ssh, capture_output=True, text=True, timeout=30, check=True).stdout


def reached(command: str) -> bool:
    """Whether a command runs in the guest."""
    try:
        inside(command)
    except subprocess.CalledProcessError:
        return False
    return True


def logs(name: str) -> str:
    """What portchain logs has of a container."""
    command = [PORTCHAIN, "logs", "--guest", "trace", name]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def test_its_service_shows_what_onboot_made_of_its_file() -> None:
    assert inside("curl -s 127.0.0.1:8000/booted").endswith("\ndescribed in YAML\n")
    assert inside("stat -c %a:%U /etc/motd-of-the-day") == "640:root\n"


def test_an_image_on_disk_ran_by_its_own_words() -> None:
    eventually(lambda: logs("box").endswith("Z from the image\n"), "its log")


def test_one_that_failed_stopped_nothing() -> None:
    console = Path("/var/log/portchain/trace/console.log").read_text()
    assert "guest: onboot wrong: ended with status 1; portchain logs wrong" in console


def test_its_services_are_those_named_with_their_own_rights() -> None:
    names = [one["name"] for one in yaml.safe_load(EXAMPLE.read_text())["services"]]
    assert inside("ctr -n services.linuxkit container ls -q").split() == sorted(names)
    pid = inside("pgrep -f [h]ttp.server").strip()
    status = dict(line.split(":\t", 1) for line in inside(f"cat /proc/{pid}/status").splitlines())
    assert set(status["Uid"].split()) == {str(100 + len(names) + 4 - 1)}
    assert (int(status["CapEff"], 16), status["NoNewPrivs"]) == (0, "1")
    assert inside(f"nsenter -t {pid} -m ls -A /scratch /srv") == "/scratch:\n\n/srv:\nbooted\n"


def test_onshutdown_has_the_last_word() -> None:
    spec = GuestSpec.load(guests.spec_file("trace"))
    assert guests.stop("trace")
    assert guests.start(spec)
    eventually(lambda: reached("true"), "the way into the guest")
    assert inside("cat /var/lib/docker/last-words") == "ended\n"


def test_a_dry_run_foretells_that_other_services_reboot_the_guest(described: Path) -> None:
    other = yaml.safe_load(described.read_text())
    other["services"].pop()
    fewer = described.with_name("fewer.yml")
    fewer.write_text(yaml.safe_dump(other))

    def start(guest_yaml: Path) -> str:
        shown = play("playbooks/guest.yml", "--check", "--extra-vars", f"guest_services_yaml={guest_yaml}")
        return shown.partition("TASK [guest : Start, stop or remove the guest]")[2].splitlines()[1].partition(":")[0]

    assert (start(described), start(fewer)) == ("ok", "changed")


def test_what_cannot_boot_changes_nothing(tmp_path: Path) -> None:
    wrong = tmp_path / "guest.yml"
    wrong.write_text("services:\n  - name: getty\n    image: example/getty:v1\n")
    before = guests.status("trace").pid
    with pytest.raises(AssertionError, match=r"guest\.yml:3: services\[0\]\.image: .* is a registry's"):
        play("site.yml", "--extra-vars", f"guest_services_yaml={wrong}")
    assert guests.status("trace").pid == before
