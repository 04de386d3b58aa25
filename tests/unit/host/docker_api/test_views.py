from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from portchain.host.docker_api import views
from portchain.host.docker_api.containers import EngineContainer
from portchain.host.docker_api.publications import assign_guest_endpoints
from portchain.host.docker_api.records import Record
from portchain.http.body import ProtocolError
from portchain.ports.forward import Endpoint


def create(**host_config: Any) -> dict[str, Any]:
    return {
        "Image": "x",
        "ExposedPorts": {"90/tcp": {}},
        "Labels": {"a": "b"},
        "HostConfig": {"Memory": 7, **host_config},
    }


def binding(ip: str, port: str) -> dict[str, str]:
    return {"HostIp": ip, "HostPort": port}


BINDINGS = {
    "80/tcp": [binding("", "8080"), binding("127.0.0.1", "")],
    "81": [binding("::1", "81")],
    "9/sctp": [binding("", "9")],
}
ENDS = {
    Endpoint("tcp", "0.0.0.0", 8080): Endpoint("tcp", "", 8080),
    Endpoint("tcp", "127.0.0.1", 55000): Endpoint("tcp", "127.0.0.1", 49152),
    Endpoint("tcp", "127.0.0.1", 81): Endpoint("tcp", "::1", 81),
}


def rewritten(document: dict[str, Any], image_ports: tuple[str, ...] = ()) -> tuple[dict[str, Any], Record]:
    """As the engine is asked, and what is kept of what the client asked."""
    changed = copy.deepcopy(document)
    record = Record(tuple(assign_guest_endpoints(views.requested_publications(changed, image_ports), [])))
    views.rewrite_create(changed, record.published)
    return changed, record


def inspected(changed: dict[str, Any], state: str = "running") -> dict[str, Any]:
    """As the engine would tell of a container that was so created."""
    ports = {key if "/" in key else f"{key}/tcp": copy.deepcopy(v) for key, v in bindings_of(changed).items()}
    return {
        "Id": "1" * 64,
        "Name": "/web",
        "State": {"Status": state, "Error": "", "ExitCode": 0},
        "HostConfig": copy.deepcopy(changed["HostConfig"]),
        "NetworkSettings": {"Ports": {"90/tcp": None, **ports} if state in ("running", "paused") else {}},
    }


def bindings_of(changed: dict[str, Any]) -> dict[str, Any]:
    return dict(changed["HostConfig"].get("PortBindings") or {})


def test_the_guests_engine_is_asked_for_the_guests_places() -> None:
    changed, _ = rewritten(create(PortBindings=BINDINGS))
    assert changed["HostConfig"]["PortBindings"] == {
        "80/tcp": [binding("0.0.0.0", "8080"), binding("127.0.0.1", "55000")],
        "81": [binding("127.0.0.1", "81")],
        "9/sctp": [binding("", "9")],
    }
    assert changed["HostConfig"]["Memory"] == 7
    assert changed["Labels"] == {"a": "b"}


def test_inspect_shows_what_was_asked_and_the_hosts_ports() -> None:
    changed, record = rewritten(create(PortBindings=BINDINGS))
    document = inspected(changed)
    views.rewrite_inspect(document, record, ENDS)
    assert document["HostConfig"]["PortBindings"] == BINDINGS
    assert document["NetworkSettings"]["Ports"] == {
        "90/tcp": None,
        "80/tcp": [binding("0.0.0.0", "8080"), binding("127.0.0.1", "49152")],
        "81/tcp": [binding("::1", "81")],
        "9/sctp": [binding("", "9")],
    }


def test_all_exposed_ports_are_published_one_by_one_and_shown_as_all() -> None:
    changed, record = rewritten(create(PublishAllPorts=True), ("80/tcp", "9/sctp"))
    assert changed["HostConfig"]["PublishAllPorts"] is True
    assert changed["HostConfig"]["PortBindings"] == {
        "80/tcp": [binding("127.0.0.1", "55001")],
        "90/tcp": [binding("127.0.0.1", "55000")],
    }
    document = inspected(changed)
    views.rewrite_inspect(document, record, {})
    assert document["HostConfig"]["PublishAllPorts"] is True
    assert document["HostConfig"]["PortBindings"] == {}


def port(kind: str, ip: str, public: int, private: int) -> dict[str, Any]:
    return {"Type": kind, "IP": ip, "PublicPort": public, "PrivatePort": private}


def row(state: str, status: str, *ports: dict[str, Any]) -> dict[str, Any]:
    return {"Id": "1" * 64, "Names": ["/web"], "State": state, "Status": status, "Ports": list(ports)}


def test_a_list_shows_the_hosts_ports() -> None:
    shown = row("running", "Up", port("tcp", "127.0.0.1", 55000, 80), {"Type": "tcp", "PrivatePort": 90})
    views.rewrite_row(shown, Record(), ENDS)
    assert shown["Ports"] == [port("tcp", "127.0.0.1", 49152, 80), {"Type": "tcp", "PrivatePort": 90}]


def test_what_others_published_is_shown_as_it_is() -> None:
    shown = row("running", "Up", port("tcp", "0.0.0.0", 53, 53))
    views.rewrite_row(shown, Record(), ENDS)
    assert shown["Ports"] == [port("tcp", "0.0.0.0", 53, 53)]


def test_a_container_that_the_host_did_not_let_start_is_shown_as_one_whose_start_failed() -> None:
    changed, record = rewritten(create(PortBindings=BINDINGS))
    refused = replace(record, refused="Ports are not available")
    document = inspected(changed, "created")
    views.rewrite_inspect(document, refused, {})
    assert document["State"] == {"Status": "created", "Error": "Ports are not available", "ExitCode": 128}
    shown = row("exited", "Exited (0) 5 minutes ago")
    views.rewrite_row(shown, refused, {})
    assert shown["Status"] == "Exited (128) 5 minutes ago"
    running = inspected(changed)
    views.rewrite_inspect(running, refused, {})
    assert running["State"]["ExitCode"] == 0


@pytest.mark.parametrize("mode", ["host", "none", "container:x"])
def test_containers_without_a_network_of_their_own_are_left_alone(mode: str) -> None:
    assert not views.has_publications(create(NetworkMode=mode, PortBindings=BINDINGS))


@pytest.mark.parametrize(
    "wrong",
    [
        {"x/tcp": [{}]},
        {"80/tcp": [binding("nowhere", "")]},
        {"80/tcp": [binding("", "9-8")]},
        {"80/tcp": [{"HostPort": 80}]},
    ],
)
def test_what_the_engine_would_refuse_is_not_read(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        views.requested_publications(create(PortBindings=wrong), ())


def test_the_proxy_protocol_is_what_the_client_asks_for() -> None:
    document = create() | {"Labels": {"io.portchain.proxy-protocol/80/tcp": "v2", "a": "b"}}
    assert views.proxy_protocols(document) == {"80/tcp": "v2"}
    document["Labels"]["io.portchain.proxy-protocol/81/tcp"] = "v7"
    with pytest.raises(ProtocolError, match="81/tcp=v7"):
        views.proxy_protocols(document)


@pytest.mark.parametrize(
    ("state", "live"),
    [
        ("running", [8080, 55000, 81]),
        ("paused", [8080, 55000, 81]),
        ("restarting", [8080, 55000, 81]),
        ("exited", []),
        ("created", []),
    ],
)
def test_live_is_what_the_engine_leads_to_the_container(state: str, live: list[int]) -> None:
    changed, record = rewritten(create(PortBindings=BINDINGS))
    assert [one.guest.port for one in EngineContainer.read(inspected(changed, state), record).live] == live


def test_a_publication_that_the_engine_leads_nowhere_is_not_live() -> None:
    changed, record = rewritten(create(PortBindings=BINDINGS))
    document = inspected(changed)
    del document["NetworkSettings"]["Ports"]["80/tcp"]
    assert [one.guest.port for one in EngineContainer.read(document, record).live] == [81]


@pytest.mark.parametrize("name", ["io.portchain.ports", "desktop.docker.io/ports/80/tcp"])
def test_a_label_opens_nothing(name: str) -> None:
    document = inspected(create(), "restarting")
    document["Config"] = {"Labels": {name: '[["80/tcp","","18140","127.0.0.1",8080]]'}}
    assert EngineContainer.read(document, Record()).live == ()


@pytest.mark.parametrize(
    ("asked", "listed", "listens"),
    [
        ([binding("", "8080")], ["0.0.0.0"], [""]),
        ([binding("", "8080")], ["0.0.0.0", "::"], [""]),
        ([binding("", "")], ["0.0.0.0"], [""]),
        ([binding("", "8000-8100")], ["0.0.0.0"], [""]),
        ([], ["0.0.0.0"], [""]),
        ([binding("0.0.0.0", "8080")], ["0.0.0.0"], ["0.0.0.0"]),
        ([binding("0.0.0.0", "8080"), binding("", "9090")], ["0.0.0.0"], ["0.0.0.0"]),
        ([binding("0.0.0.0", "8080"), binding("::", "8080")], ["0.0.0.0", "::"], ["0.0.0.0", "::"]),
        ([binding("127.0.0.1", "8080")], ["127.0.0.1"], ["127.0.0.1"]),
    ],
)
def test_what_never_came_through_the_host_is_listened_for_where_it_was_asked_for(
    asked: list[dict[str, str]], listed: list[str], listens: list[str]
) -> None:
    document = inspected(create(PortBindings={"80/tcp": asked}))
    document["NetworkSettings"]["Ports"] = {"80/tcp": [binding(address, "8080") for address in listed]}
    live = EngineContainer.read(document, Record()).live
    assert [one.explicit for one in live] == [Endpoint("tcp", address, 8080) for address in listens]
    assert [one.guest.port for one in live] == [8080] * len(listens)
