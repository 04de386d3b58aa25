from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from portchain.guest import yaml_guest
from portchain.guest.yaml_guest import GuestYaml, merged
from portchain.guest.yaml_images import Images
from portchain.guest.yaml_source import GuestYamlError

PROJECT = Path(__file__).parents[3]
CATALOGUE = PROJECT / "roles/guest_services/services"
SETS = ("binfmt", "docker", "guest", "services")
EXAMPLES = sorted((PROJECT / "docs/examples").glob("*.yml"))

# Written as the examples of LinuxKit are, with every key of its schema.
AS_AT_LINUXKIT = """
kernel:
  image: example/kernel:6.6.13
  cmdline: console=ttyS0
  ucode: intel.cpio
init:
  - example/init:v1
  - example/containerd:v1
onboot:
  - name: sysctl
    image: example/sysctl:v1
  - name: dhcpcd
    image: example/dhcpcd:v1
    command: [/sbin/dhcpcd, --nobackground, "-1"]
  - name: wg0
    image: example/ip:v1
    net: new
    binds.add: [/etc/wireguard:/etc/wireguard]
    capabilities.add: [CAP_NET_ADMIN]
    command: [configure]
    runtime:
      interfaces:
        - {name: wg0, add: wireguard, createInRoot: true}
      bindNS: {net: /run/netns/wg0}
onshutdown:
  - name: shutdown
    image: busybox:latest
    command: [/bin/echo, so long]
services:
  - name: getty
    image: example/getty:v1
    env: [INSECURE=true]
    net: /run/netns/wg0
    runtime:
      cgroups: [one]
      mkdir: [/var/lib/getty]
      mounts:
        - {type: overlay, source: overlay, destination: own-etc, options: [lowerdir=/etc]}
  - name: dhcpcd
    image: example/nginx:1.19
    uid: nginx
    gid: 65534
    additionalGids: [nginx]
    ambient: [all]
    capabilities: [CAP_NET_BIND_SERVICE]
    mounts:
      - type: cgroup
        options: [rw, nosuid]
    binds: ["blank:/blank", "/etc/resolv.conf:/etc/resolv.conf:ro"]
    tmpfs: ["/tmp:size=1m"]
    devices: [{path: /dev/fuse, type: c, major: 10, minor: 229, mode: "0666"}, {path: all, type: b}]
    sysctl: {net.ipv4.ip_forward: "1"}
    rlimits: ["nofile,100,unlimited"]
    resources: {memory: {limit: 1000000, swap: 0}, cpu: {shares: 2, cpus: 0-1}, pids: {limit: 9}}
    maskedPaths: [/proc/kcore]
    readonlyPaths: [/proc/sys]
    annotations: {a: b}
    oomScoreAdj: -100
    rootfsPropagation: shared
    cgroupsPath: /podruntime/x
    hostname: x
    uts: new
    ipc: new
    pid: host
    cwd: /tmp
    readonly: true
    noNewPrivileges: true
    userns: new
    uidMappings: [{hostID: 0, containerID: 0, size: 1}]
volumes:
  - name: blank
  - {name: full, image: "alpine:3.19", readonly: true, format: filesystem, platforms: [linux/amd64]}
files:
  - {path: etc/linuxkit-config, metadata: yaml}
  - {path: var/x, directory: true, mode: "0700", uid: getty, gid: 0}
  - {path: etc/link, symlink: /tmp}
  - {path: etc/key, source: nowhere, optional: true}
trust:
  org: [example]
"""


def read(tmp_path: Path, text: str) -> GuestYaml:
    path = tmp_path / "guest.yml"
    path.write_text(dedent(text))
    return yaml_guest.read(path, Images(CATALOGUE, SETS))


def wrong(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(GuestYamlError) as raised:
        read(tmp_path, text)
    return [f"{one.line} {one.as_dict()['key']}: {one.text}" for one in raised.value.problems]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_can_boot(path: Path) -> None:
    assert not yaml_guest.read(path, Images(CATALOGUE, SETS)).unfit


def test_the_default_is_the_whole_catalogue() -> None:
    guest = yaml_guest.read(PROJECT / "roles/guest_services/guest.yml", Images(CATALOGUE, SETS))
    assert [one.name for one in guest.containers["services"]] == sorted(path.name for path in CATALOGUE.iterdir())
    assert not guest.unfit


def test_every_word_of_linuxkit_is_known_and_what_is_not_done_is_said(tmp_path: Path) -> None:
    unfit = [f"{one.line} {one.as_dict()['key']}" for one in read(tmp_path, AS_AT_LINUXKIT).unfit]
    assert {"7 init[0]", "11 onboot[0].image", "24 onboot[2].runtime.bindNS"} <= set(unfit)
    assert any("userns" in one for one in unfit)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("services:\n  - {name: a, image: services, command: [x], colour: blue}", "2 services[0].colour: unknown key"),
        ("service: []", "1 service: unknown key; there are: files, init, kernel"),
        ("services:\n  - name: a", "2 services[0].image: is required"),
        (
            "services:\n  - name: a\n    image: nowhere",
            "3 services[0].image: no image 'nowhere'; there are the services acpid",
        ),
        ("services:\n  - name: a\n    image: ./nowhere", "3 services[0].image: no image at /"),
        ("services:\n  - name: a\n    image: services", "2 services[0].command: is required, for the image has none"),
        ("services: {}", "1 services: must be a list, not a mapping"),
        ("services:\n  - name: a b\n    image: docker", "2 services[0].name: 'a b' is no name"),
        (
            "services:\n  - {name: a, image: docker}\n  - {name: a, image: docker}",
            "3 services[1].name: 'a' is there twice",
        ),
        ("volumes:\n  - {name: a}\n  - {name: a}", "3 volumes[1].name: 'a' is there twice"),
        ("volumes:\n  - {name: A}", "2 volumes[0].name: 'A' is no name"),
        ("onboot:\n  - name: a\n    image: docker\n    image: docker", "4 onboot[0].image: is there twice"),
        (
            "onboot:\n  - name: a\n    image: docker\n    binds:\n      - /a",
            "5 onboot[0].binds[0]: '/a' is not source:target",
        ),
        ("onboot:\n  - name: a\n    image: docker\n    binds:\n      - a:/a", "5 onboot[0].binds[0]: no volume 'a'"),
        (
            "onboot:\n  - name: a\n    image: docker\n    capabilities: [SYS_ADMIN]",
            "4 onboot[0].capabilities[0]: no capability 'SYS_ADMIN'; CAP_SYS_ADMIN",
        ),
        ("onboot:\n  - {name: a, image: docker, net: guest}", "2 onboot[0].net: 'guest' is neither host nor new"),
        ("onboot:\n  - {name: a, image: docker, tmpfs: [tmp]}", "2 onboot[0].tmpfs[0]: 'tmp' is not /target"),
        ("onboot:\n  - {name: a, image: docker, rlimits: ['files,1,1']}", "2 onboot[0].rlimits[0]: 'files,1,1' is not"),
        (
            "onboot:\n  - {name: a, image: docker, readonly: 1}",
            "2 onboot[0].readonly: must be true or false, not a number",
        ),
        ("files:\n  - path: a\n    mode: 0644", "3 files[0].mode: must be a string, not a number"),
        ("files:\n  - path: a\n    mode: '9'", "3 files[0].mode: '9' is no octal number"),
        ("files:\n  - {path: a, contents: b, symlink: c}", "2 files[0]: is one of symlink and contents, not both"),
        ("files:\n  - {path: a, source: ./nowhere}", "2 files[0].source: no file /"),
        ("services: [", "1 : while parsing"),
    ],
)
def test_what_is_wrong_is_said_with_line_and_key(tmp_path: Path, text: str, found: str) -> None:
    first, *more = wrong(tmp_path, text)
    assert (first[: len(found)] == found or text == "services: [") and not more


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = "services:\n  - {name: a, image: x}\n  - {name: a, image: docker, binds: [b]}\n"
    assert [line.split(":")[0] for line in wrong(tmp_path, text)] == [
        "2 services[0].image",
        "3 services[1].name",
        "3 services[1].binds[0]",
    ]


def test_a_problem_is_shown_as_compilers_do(tmp_path: Path) -> None:
    with pytest.raises(GuestYamlError, match=r"guest\.yml:1: service: unknown key"):
        read(tmp_path, "service: []")


def test_a_file_that_is_not_there_is_a_problem_too(tmp_path: Path) -> None:
    with pytest.raises(GuestYamlError, match="cannot be read"):
        yaml_guest.read(tmp_path / "guest.yml", Images(CATALOGUE, SETS))


def test_a_service_of_the_catalogue_brings_its_words_and_files(tmp_path: Path) -> None:
    text = "services:\n  - {name: engine, image: docker, env: [A=b], binds.add: ['/x:/x'], runtime: {mkdir: [/x]}}"
    (engine,) = read(tmp_path, text).containers["services"]
    own = yaml.safe_load((CATALOGUE / "docker/service.yml").read_text())
    assert (engine.name, engine.image, engine.files) == ("engine", "docker", CATALOGUE / "docker/files")
    assert engine.words["command"] == own["command"]
    assert engine.words["env"] == ["A=b"]
    assert engine.words["binds"] == [*own["binds"], "/x:/x"]
    assert engine.words["runtime"]["mkdir"] == ["/x"]


def test_what_is_added_gives_way_to_what_is_said() -> None:
    image = {"capabilities": ["CAP_KILL"]}
    assert merged(image, {"capabilities.add": ["CAP_CHOWN"]}) == {"capabilities": ["CAP_KILL", "CAP_CHOWN"]}
    assert merged(image, {"capabilities.add": ["CAP_CHOWN"], "capabilities": []}) == {"capabilities": []}


def test_a_catalogues_entry_that_is_wrong_is_named_itself(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/service.yml").write_text("name: two\nimage: services\n")
    (tmp_path / "guest.yml").write_text("services: [{name: one, image: one}]")
    with pytest.raises(GuestYamlError, match=r"one/service\.yml:1: name: its folder is named one"):
        yaml_guest.read(tmp_path / "guest.yml", Images(tmp_path, SETS))
