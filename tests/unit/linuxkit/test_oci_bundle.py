from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from portchain.linuxkit import catalogue, description
from portchain.linuxkit.checks import CAPABILITIES
from portchain.linuxkit.description import GuestYaml, LinuxkitContainer
from portchain.linuxkit.images import Images
from portchain.linuxkit.oci_bundle import oci_config, runtime_config
from portchain.linuxkit.paths import Bundle

ROLE = Path(__file__).parents[3] / "roles/guest_services"
IMAGES = Images(ROLE / "services", ["binfmt", "docker", "services"])


def config(kind: str = "services", **words: Any) -> dict[str, Any]:
    container = LinuxkitContainer("one", "services", {"command": ["/bin/true"], **words})
    return oci_config(container, Bundle(kind, "one"), "linuxkit", {"web": 103})


def mount(target: str, **words: Any) -> dict[str, Any]:
    found: dict[str, Any] = next(m for m in config(**words)["mounts"] if m["destination"] == target)
    return found


def default() -> GuestYaml:
    return description.read_default(IMAGES)


def test_the_defaults_are_linuxkits() -> None:
    found = config()
    assert found["linux"]["namespaces"] == [{"type": "mount"}, {"type": "pid"}]
    assert found["process"]["capabilities"]["effective"] == []
    assert found["process"]["user"] == {"uid": 0, "gid": 0, "additionalGids": []}
    assert found["process"]["cwd"] == "/"
    assert found["root"] == {"path": "/containers/services/one/rootfs", "readonly": False}
    assert mount("/b", binds=["/a:/b"])["options"] == ["rw", "rbind", "rshared"]
    assert "ro" not in mount("/sys")["options"]
    assert "ro" in mount("/sys", readonly=True)["options"]


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        ({"pid": "host"}, ["mount"]),
        ({"net": "none", "uts": "new"}, ["mount", "network", "uts", "pid"]),
        ({"ipc": "new", "pid": "root"}, ["mount", "ipc"]),
    ],
)
def test_namespaces_are_shared_or_new(words: dict[str, Any], kinds: list[str]) -> None:
    assert [one["type"] for one in config(**words)["linux"]["namespaces"]] == kinds


def test_a_namespace_may_be_somebody_elses() -> None:
    assert {"type": "network", "path": "/run/netns/a"} in config(net="/run/netns/a")["linux"]["namespaces"]


@pytest.mark.parametrize(
    ("given", "effective"),
    [(["all"], list(CAPABILITIES)), (["none"], []), (["CAP_KILL"], ["CAP_KILL"])],
)
def test_capabilities_are_those_named(given: list[str], effective: list[str]) -> None:
    assert config(capabilities=given)["process"]["capabilities"]["effective"] == effective


def test_ambient_capabilities_are_bounding_but_not_effective() -> None:
    found = config(capabilities=["CAP_KILL"], ambient=["CAP_CHOWN"])["process"]["capabilities"]
    assert found["bounding"] == ["CAP_CHOWN", "CAP_KILL"]
    assert (found["effective"], found["ambient"]) == (["CAP_KILL"], ["CAP_CHOWN"])


def test_users_are_numbers_or_containers() -> None:
    assert config(uid="web", gid=7, additionalGids=["root"])["process"]["user"] == {
        **{"uid": 103, "gid": 7},
        "additionalGids": [0],
    }


def test_a_read_only_bind_is_not_also_writable() -> None:
    assert mount("/b", binds=["/a:/b:ro"])["options"] == ["rbind", "rshared", "ro", "nodev"]


def test_what_is_bound_read_only_keeps_nodev_except_devices() -> None:
    bound = {"type": "bind", "source": "/a", "destination": "/b", "options": ["ro"]}
    assert "nodev" in mount("/b", mounts=[bound])["options"]
    assert "nodev" not in mount("/b", binds=["/dev/x:/b:ro"])["options"]
    assert "nodev" not in mount("/b", binds=["/a:/b"])["options"]


def test_a_bind_that_is_no_path_is_a_volume() -> None:
    assert mount("/b", binds=["blank:/b"])["source"] == "/run/volumes/blank"


def test_a_bound_dev_is_not_covered_by_the_services_own() -> None:
    targets = [m["destination"] for m in config(binds=["/dev:/dev"])["mounts"]]
    assert targets.count("/dev") == 1
    assert "/dev/pts" not in targets


def test_a_mount_of_a_known_kind_has_its_place() -> None:
    assert mount("/sys/fs/cgroup", mounts=[{"type": "cgroup", "options": ["rw"]}])["source"] == "cgroup"


def test_limits_and_devices_are_as_oci_has_them() -> None:
    fuse = {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "mode": "0600"}
    found = config(
        rlimits=["nofile,64,unlimited"],
        resources={"memory": {"limit": 4096}},
        devices=[fuse, {"path": "all", "type": "b"}],
    )
    assert found["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 2**64 - 1}]
    assert found["linux"]["resources"] == {
        "memory": {"limit": 4096},
        "devices": [
            {"allow": True, "type": "c", "access": "rwm", "major": 10, "minor": 229},
            {"allow": True, "type": "b", "access": "rwm"},
        ],
    }
    assert [device["fileMode"] for device in found["linux"]["devices"]] == [0o600]


def test_only_starts_of_services_are_counted() -> None:
    assert config()["hooks"]["createRuntime"][0]["args"][1] == "/run/starts/one"
    assert "hooks" not in config("onboot")


def test_runtime_says_what_the_guest_prepares() -> None:
    words = {"runtime": {"mkdir": ["/run/x"], "noRestart": True}}
    assert runtime_config(LinuxkitContainer("one", "services", words)) == {
        **{"image": "services", "mkdir": ["/run/x"], "mounts": [], "restart": False},
    }


def test_onboot_keeps_its_order(tmp_path: Path) -> None:
    (tmp_path / "guest.yml").write_text(
        "onboot: [{name: z, image: services, command: [x]}, {name: a, image: services, command: [x]}]\n"
        "files: [{path: etc/a, contents: b}]\n"
        "volumes: [{name: v, image: docker}]\n"
    )
    nodes = catalogue.build_tree(description.read(tmp_path / "guest.yml", IMAGES), "linuxkit")
    assert {"onboot/000-z/config.json", "onboot/001-a/runtime.json"} <= set(nodes)
    root = json.loads(bytes(nodes["onboot/000-z/config.json"].content))["root"]  # type: ignore[arg-type]
    assert root["path"] == "/containers/onboot/000-z/rootfs"
    assert json.loads(bytes(nodes["guest.json"].content)) == {  # type: ignore[arg-type]
        "files": [{"path": "/etc/a", "mode": 0o644, "uid": 0, "gid": 0, "contents": "b"}],
        "volumes": [{"name": "v", "readonly": False, "image": "docker"}],
    }


def test_a_written_tree_reads_the_same_and_loses_what_does_not_belong(tmp_path: Path) -> None:
    nodes = catalogue.build_tree(default(), "linuxkit")
    catalogue.write_tree(tmp_path, nodes)
    assert catalogue.read_tree(tmp_path) == nodes
    (tmp_path / "services/old").mkdir()
    (tmp_path / "services/old/config.json").write_text("{}")
    (tmp_path / "services/docker/config.json").write_text("changed")
    catalogue.write_tree(tmp_path, nodes)
    assert catalogue.read_tree(tmp_path) == nodes


def test_a_host_without_a_memory_controller_sets_no_such_limit() -> None:
    nodes = catalogue.build_tree(default(), "linuxkit", limit_memory=False)
    configs = [json.loads(bytes(node.content)) for name, node in nodes.items() if name.endswith("config.json")]  # type: ignore[arg-type]
    assert all("memory" not in one["linux"]["resources"] for one in configs)
