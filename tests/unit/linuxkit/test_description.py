from __future__ import annotations

import time
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from hypothesis import given

from portchain.linuxkit import description
from portchain.linuxkit.description import GuestYaml, merge_options
from portchain.linuxkit.images import Images
from portchain.linuxkit.yaml_source import GuestYamlError
from support.mutations import mutated

PROJECT = Path(__file__).parents[3]
CATALOGUE = PROJECT / "roles/guest_services/services"
SETS = ("binfmt", "docker", "guest", "services")
EXAMPLES = sorted((PROJECT / "docs/howto/examples").glob("*.yml"))

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
    return description.read(path, Images(CATALOGUE, SETS))


def wrong(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(GuestYamlError) as raised:
        read(tmp_path, text)
    return [f"{one.line} {one.as_dict()['key']}: {one.text}" for one in raised.value.problems]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_can_boot(path: Path) -> None:
    assert not description.read(path, Images(CATALOGUE, SETS)).unsupported


def test_the_default_is_the_whole_catalogue() -> None:
    guest = description.read_default(Images(CATALOGUE, SETS))
    assert [one.name for one in guest.containers["services"]] == sorted(path.name for path in CATALOGUE.iterdir())
    assert not guest.unsupported


def test_every_word_of_linuxkit_is_known_and_what_is_not_done_is_said(tmp_path: Path) -> None:
    unfit = [f"{one.line} {one.as_dict()['key']}" for one in read(tmp_path, AS_AT_LINUXKIT).unsupported]
    assert {"7 init[0]", "11 onboot[0].image", "24 onboot[2].runtime.bindNS"} <= set(unfit)
    assert any("userns" in one for one in unfit)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("services:\n  - {name: a, image: services, command: [x], colour: blue}", "2 services[0].colour: unknown key"),
        ("", "1 : is empty: a guest has onboot, services, onshutdown or files"),
        ("# nothing yet\n---\n{}\n", "3 : is empty"),
        ("service: []", "1 service: unknown key; there are: files, init, kernel"),
        ("services:\n  - name: a", "2 services[0].image: is required"),
        (
            "services:\n  - name: a\n    image: No Where",
            "3 services[0].image: 'No Where' is not an image; there are the services acpid",
        ),
        ("services:\n  - name: a\n    image: ./nowhere", "3 services[0].image: no image at /"),
        ("services:\n  - name: a\n    image: services", "2 services[0].command: is required, for the image has none"),
        ("services: {}", "1 services: must be a list, not a mapping"),
        ("services:\n  - name: a b\n    image: docker", "2 services[0].name: 'a b' is not a name"),
        (
            "services:\n  - {name: a, image: docker}\n  - {name: a, image: docker}",
            "3 services[1].name: 'a' is there twice",
        ),
        ("volumes:\n  - {name: a}\n  - {name: a}", "3 volumes[1].name: 'a' is there twice"),
        ("volumes:\n  - {name: A}", "2 volumes[0].name: 'A' is not a name"),
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
        ("files:\n  - path: ''", "2 files[0].path: '' is not the path of a file"),
        ("files:\n  - path: a\n    mode: '9'", "3 files[0].mode: '9' is not an octal number"),
        ("files:\n  - {path: a, contents: b, symlink: c}", "2 files[0]: is one of symlink and contents, not both"),
        ("files:\n  - {path: a, source: ./nowhere}", "2 files[0].source: no file /"),
        ("services: [", "1 : while parsing"),
    ],
)
def test_what_is_wrong_is_said_with_line_and_key(tmp_path: Path, text: str, found: str) -> None:
    first, *more = wrong(tmp_path, text)
    assert (first[: len(found)] == found or text == "services: [") and not more


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = "services:\n  - {name: a, image: X}\n  - {name: a, image: docker, binds: [b]}\n"
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
        description.read(tmp_path / "guest.yml", Images(CATALOGUE, SETS))


def test_a_service_of_the_catalogue_brings_its_words_and_files(tmp_path: Path) -> None:
    text = "services:\n  - {name: engine, image: docker, env: [A=b], binds.add: ['/x:/x'], runtime: {mkdir: [/x]}}"
    (engine,) = read(tmp_path, text).containers["services"]
    own = yaml.safe_load((CATALOGUE / "docker/service.yml").read_text())
    assert (engine.name, engine.image, engine.files) == ("engine", "docker", CATALOGUE / "docker/files")
    assert engine.options["command"] == own["command"]
    assert engine.options["env"] == ["A=b"]
    assert engine.options["binds"] == [*own["binds"], "/x:/x"]
    assert engine.options["runtime"]["mkdir"] == ["/x"]


def test_what_is_added_gives_way_to_what_is_said() -> None:
    image = {"capabilities": ["CAP_KILL"]}
    assert merge_options(image, {"capabilities.add": ["CAP_CHOWN"]}) == {"capabilities": ["CAP_KILL", "CAP_CHOWN"]}
    assert merge_options(image, {"capabilities.add": ["CAP_CHOWN"], "capabilities": []}) == {"capabilities": []}


def test_a_catalogues_entry_that_is_wrong_is_named_itself(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/service.yml").write_text("name: two\nimage: services\n")
    (tmp_path / "guest.yml").write_text("services: [{name: one, image: one}]")
    with pytest.raises(GuestYamlError, match=r"one/service\.yml:1: name: its folder is named one"):
        description.read(tmp_path / "guest.yml", Images(tmp_path, SETS))


def laughs(before: str, one: str, inner: str) -> str:
    """Thirty aliases, each of which stands twice for the one before it."""
    lines = [f"{before}a0: &a0 {one}"]
    lines += [f"a{n}: &a{n} {inner.format(f'*a{n - 1}')}" for n in range(1, 31)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (laughs("", "[x]", "[{0}, {0}]"), "more than 5000 values, or has aliases that stand for more"),
        (laughs("", "{k: v}", "{{a: {0}, b: {0}}}"), "more than 5000 values, or has aliases that stand for more"),
        (laughs("", "{k: v}", "{{<<: [{0}, {0}]}}"), "more than 5000 values, or has aliases that stand for more"),
        ("services: &a [*a]", "or for themselves"),
        ("services: &a {x: *a}", "or for themselves"),
        ("services: " + "[" * 5000, "more than 30 lists and mappings within each other"),
        ("services: " + "{a: " * 5000, "more than 30 lists and mappings within each other"),
        ("\n".join(" " * n + "a:" for n in range(1000)), "more than 30 lists and mappings within each other"),
        ("- " * 5000, "more than 30 lists and mappings within each other"),
        ("#" * (1 << 20) + "\n", "is longer than 1048576 characters"),
        ("services: [" + "a," * 6_000 + "]", "more than 5000 values"),
        ("a: !!int " + "9" * 10_000, "Exceeds the limit"),
        ("? [a]\n: b", "unhashable key"),
        ("a: b\n---\nc: d", "found another document"),
        ("a: \x07", "special characters are not allowed"),
        ("files: !!python/object:os.system x", "could not determine a constructor"),
    ],
)
def test_what_would_take_for_ever_is_refused_at_once(tmp_path: Path, text: str, found: str) -> None:
    began = time.process_time()
    (said,) = wrong(tmp_path, text)
    assert found in said
    assert time.process_time() - began < 30


@pytest.mark.parametrize(
    "name", ["busybox", "busybox:latest", "library/busybox", "localhost:5000/x/y@sha256:" + "0" * 64]
)
def test_an_image_of_a_registry_is_none_of_ours_and_no_mistake(tmp_path: Path, name: str) -> None:
    (unfit,) = read(tmp_path, f"onboot: [{{name: a, image: '{name}', command: [x]}}]").unsupported
    assert str(unfit.text).startswith(f"{name!r} is a registry's; put it on disk")


def test_a_name_that_is_almost_one_of_ours_is_asked_about(tmp_path: Path) -> None:
    (unfit,) = read(tmp_path, "onboot: [{name: a, image: dokcer}]").unsupported
    assert unfit.text == "'dokcer' is a registry's; docker is meant?"


@pytest.mark.parametrize("name", ["", "Busy Box", "../docker", "docker/../docker", "BUSYBOX", "a" * 300, "./a\\0"])
def test_what_no_image_can_be_called_is_a_mistake(tmp_path: Path, name: str) -> None:
    (said,) = wrong(tmp_path, f'onboot: [{{name: a, image: "{name}", command: [x]}}]')
    assert "onboot[0].image: " in said


def test_services_that_portchain_relies_on_are_told_where_they_are_missing(tmp_path: Path) -> None:
    guest = read(tmp_path, "services: [{name: docker, image: docker}, {name: diagnose, image: diagnose}]")
    assert description.describe_missing_services(guest) == [
        "no service vpnkit-forwarder: no port of the host leads into the guest"
    ]
    assert description.describe_missing_services(description.read_default(Images(CATALOGUE, SETS))) == []


ODD = (
    b"&a ",
    b"*a",
    b"<<: *a",
    b"[",
    b"{",
    b"!!python/object:os.system ",
    b"\t",
    b"null",
    b"-1",
    b"1e9",
    b": ",
    b"\n- ",
)


@given(text=mutated(AS_AT_LINUXKIT.encode(), ODD))
def test_any_file_is_a_guest_or_an_error_with_its_lines(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "odd.yml"
    path.write_bytes(text)
    try:
        description.read(path, Images(CATALOGUE, SETS))
    except GuestYamlError as error:
        assert str(path) in str(error)
