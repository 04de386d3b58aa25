from __future__ import annotations

from pathlib import Path

import pytest

from portchain.linuxkit import catalogue, description, host_sockets
from portchain.linuxkit.images import Images
from portchain.linuxkit.yaml_source import GuestYamlError
from portchain.ports.forward import Endpoint, Forward

PROJECT = Path(__file__).parents[3]


def annotated(text: str) -> dict[str, str]:
    return {host_sockets.ANNOTATION: text}


def test_a_name_is_a_socket_of_that_name_and_may_lead_elsewhere() -> None:
    assert host_sockets.parse("ssh  socks=tcp:127.0.0.1:1080") == {
        "ssh": "unix:/run/guest-services/ssh.sock",
        "socks": "tcp:127.0.0.1:1080",
    }
    assert host_sockets.parse("") == {}


@pytest.mark.parametrize(
    "text", ["../x", "a/b", "Ssh", "=tcp:127.0.0.1:1", "a a", "a=nowhere", "a=unix:x", "a=udp:127.0.0.1:53", "docker"]
)
def test_what_is_no_socket_of_a_service_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        host_sockets.parse(text)


def test_a_socket_is_offered_once() -> None:
    services = [("one", annotated("a b")), ("two", {}), ("three", annotated("b"))]
    assert list(host_sockets.check_annotations(services)) == [
        (2, "io.portchain.host-sockets: b.sock is offered by one already")
    ]


def test_an_unknown_annotation_of_ours_is_told_and_others_are_free() -> None:
    services = [("one", {"io.portchain.host-socket": "a", "org.example.host-socket": "a"})]
    assert list(host_sockets.check_annotations(services)) == [
        (0, "unknown annotation io.portchain.host-socket; there is: io.portchain.host-sockets")
    ]


def test_the_file_reads_back_as_forwards_in_the_guests_folder() -> None:
    text = host_sockets.dump([annotated("ssh"), {}, annotated("socks=tcp:127.0.0.1:1080")])
    assert host_sockets.forwards(text, "/run/portchain/one") == [
        Forward(Endpoint("unix", "/run/portchain/one/socks.sock"), Endpoint("tcp", "127.0.0.1", 1080)),
        Forward(Endpoint("unix", "/run/portchain/one/ssh.sock"), Endpoint("unix", "/run/guest-services/ssh.sock")),
    ]


@pytest.mark.parametrize("text", ["[]", "{", '{"a": "nowhere"}'])
def test_a_damaged_file_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        host_sockets.forwards(text, "/run/portchain/one")


def test_a_service_is_added_by_a_folder_alone(tmp_path: Path) -> None:
    services = tmp_path / "services"
    services.mkdir()
    for service in (PROJECT / "roles/guest_services/services").iterdir():
        (services / service.name).symlink_to(service)
    (services / "echo").mkdir()
    (services / "echo/service.yml").write_text(
        "name: echo\nimage: services\n"
        "command: [/usr/bin/socat, 'UNIX-LISTEN:/run/guest-services/echo.sock,fork', PIPE]\n"
        "binds: ['/run/guest-services:/run/guest-services']\nannotations: {io.portchain.host-sockets: echo}\n"
    )
    guest = description.read_default(Images(services, ["binfmt", "docker", "services"]))
    assert "echo" in [container.name for container in guest.containers["services"]]
    node = catalogue.build_tree(guest, "linuxkit")["host-sockets.json"]
    assert isinstance(node.content, bytes)
    listening = {forward.listen.address for forward in host_sockets.forwards(node.content.decode(), "/run/x")}
    assert {"/run/x/echo.sock", "/run/x/ssh.sock", "/run/x/engine.sock"} <= listening


def test_a_wrong_annotation_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "guest.yml").write_text(
        "services:\n  - name: one\n    image: services\n    command: [x]\n"
        "    annotations: {io.portchain.host-sockets: control}\n"
    )
    with pytest.raises(GuestYamlError, match=r"control.sock is the host's own") as raised:
        description.read(tmp_path / "guest.yml", Images(tmp_path, ["services"]))
    assert raised.value.problems[0].line == 5


def test_a_wrong_annotation_of_the_catalogue_is_told_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "echo").mkdir()
    entry = tmp_path / "echo/service.yml"
    entry.write_text("name: echo\nimage: services\ncommand: [x]\nannotations: {io.portchain.host-sockets: docker}\n")
    with pytest.raises(GuestYamlError, match=r"docker.sock is the host's own") as raised:
        description.read_default(Images(tmp_path, ["services"]))
    assert [(problem.file, problem.line) for problem in raised.value.problems] == [(str(entry), 4)]
