from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from portchain.guest import catalogue
from portchain.guest.bundle import oci_config, runtime_config
from portchain.guest.service_entry import CAPABILITIES, EntryError, ServiceEntry

IMAGES = frozenset({"docker", "services"})
CATALOGUE = Path(__file__).parents[3] / "roles/guest_services/services"
MINIMAL: dict[str, Any] = {"name": "one", "image": "services", "command": ["/bin/true"]}


def parse(**more: Any) -> ServiceEntry:
    return ServiceEntry.parse({**MINIMAL, **more}, IMAGES)


def test_the_defaults_are_linuxkits() -> None:
    config = oci_config(parse(), "linuxkit")
    assert [n["type"] for n in config["linux"]["namespaces"]] == ["mount", "pid"]
    assert config["process"]["capabilities"]["effective"] == []
    assert config["root"] == {"path": "/containers/services/one/rootfs", "readonly": False}
    bind = next(m for m in oci_config(parse(binds=["/a:/b"]), "x")["mounts"] if m["destination"] == "/b")
    assert bind["options"] == ["rw", "rbind", "rshared"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "blue"}, "unknown key 'colour'; allowed: .*capabilities.*runtime"),
        ({"runtime": {"mkdirs": []}}, "runtime: unknown key 'mkdirs'; allowed: mkdir, mounts"),
        ({"image": "alpine"}, "no image 'alpine'; one of docker, services"),
        ({"command": []}, "the key command is required"),
        ({"command": "/bin/true"}, "command must be a list, not str"),
        ({"capabilities": ["SYS_ADMIN"]}, "no capability 'SYS_ADMIN'"),
        ({"binds": ["etc"]}, "bind 'etc'"),
        ({"net": "none"}, "net must be host or new"),
        ({"readonly": "yes"}, "readonly must be a bool"),
    ],
)
def test_a_wrong_entry_is_refused_by_service_and_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(EntryError, match=f"service one: {message}"):
        parse(**change)


def test_all_means_every_capability() -> None:
    config = oci_config(parse(capabilities=["all"]), "linuxkit")
    assert config["process"]["capabilities"]["bounding"] == list(CAPABILITIES)


def test_a_read_only_bind_is_not_also_writable() -> None:
    bind = next(m for m in oci_config(parse(binds=["/a:/b:ro"]), "x")["mounts"] if m["destination"] == "/b")
    assert bind["options"] == ["rbind", "rshared", "ro"]


def test_a_bound_dev_is_not_covered_by_the_services_own() -> None:
    targets = [m["destination"] for m in oci_config(parse(binds=["/dev:/dev"]), "x")["mounts"]]
    assert targets.count("/dev") == 1
    assert "/dev/pts" not in targets


def test_runtime_says_what_the_guest_prepares() -> None:
    assert runtime_config(parse(runtime={"mkdir": ["/run/x"]})) == {
        "image": "services",
        "mkdir": ["/run/x"],
        "mounts": [],
    }


def folders() -> dict[str, Any]:
    return {p.parent.name: yaml.safe_load(p.read_text()) for p in CATALOGUE.glob("*/service.yml")}


def test_every_service_of_the_catalogue_can_be_used() -> None:
    nodes = catalogue.tree(CATALOGUE, folders(), IMAGES, "linuxkit")
    for name in folders():
        config = json.loads(bytes(nodes[f"services/{name}/config.json"].content))  # type: ignore[arg-type]
        assert config["root"]["path"] == f"/containers/services/{name}/rootfs"


def test_an_entry_is_named_as_its_folder() -> None:
    with pytest.raises(EntryError, match="its folder is named two"):
        catalogue.tree(CATALOGUE, {"two": MINIMAL}, IMAGES, "linuxkit")


def test_a_written_tree_reads_the_same_and_loses_what_does_not_belong(tmp_path: Path) -> None:
    nodes = catalogue.tree(CATALOGUE, folders(), IMAGES, "linuxkit")
    catalogue.write(tmp_path, nodes)
    assert catalogue.read(tmp_path) == nodes
    (tmp_path / "services/old").mkdir()
    (tmp_path / "services/old/config.json").write_text("{}")
    (tmp_path / "services/docker/config.json").write_text("changed")
    catalogue.write(tmp_path, nodes)
    assert catalogue.read(tmp_path) == nodes
