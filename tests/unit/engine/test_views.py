from __future__ import annotations

import copy
from typing import Any

import pytest

from portchain.engine import views
from portchain.engine.picture import from_inspect, read_row
from portchain.engine.publications import LABEL, plan
from portchain.mapping.forward import Endpoint


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


def rewritten(document: dict[str, Any], image_ports: tuple[str, ...] = ()) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    views.rewrite_create(changed, plan(views.asked(changed, image_ports), []))
    return changed


def test_the_guests_engine_is_asked_for_the_guests_places() -> None:
    changed = rewritten(create(PortBindings=BINDINGS))
    assert changed["HostConfig"]["PortBindings"] == {
        "80/tcp": [binding("0.0.0.0", "8080"), binding("127.0.0.1", "55000")],
        "81/tcp": [binding("127.0.0.1", "81")],
        "9/sctp": [binding("", "9")],
    }
    assert changed["HostConfig"]["Memory"] == 7
    assert changed["Labels"]["a"] == "b"


def inspected(changed: dict[str, Any]) -> dict[str, Any]:
    """As the engine would tell of a container that was so created and runs."""
    return {
        "Id": "1" * 64,
        "Name": "/web",
        "Config": {"Labels": changed["Labels"]},
        "HostConfig": changed["HostConfig"],
        "NetworkSettings": {"Ports": {"90/tcp": None, **copy.deepcopy(changed["HostConfig"]["PortBindings"])}},
    }


def test_inspect_shows_what_was_asked_and_the_hosts_ports() -> None:
    document = inspected(rewritten(create(PortBindings=BINDINGS)))
    views.rewrite_inspect(document, ENDS)
    assert document["HostConfig"]["PortBindings"] == {
        **{k: v for k, v in BINDINGS.items() if k != "81"},
        "81/tcp": BINDINGS["81"],
    }
    assert document["NetworkSettings"]["Ports"] == {
        "90/tcp": None,
        "80/tcp": [binding("0.0.0.0", "8080"), binding("127.0.0.1", "49152")],
        "81/tcp": [binding("::1", "81")],
        "9/sctp": [binding("", "9")],
    }


def test_all_exposed_ports_are_published_one_by_one_and_shown_as_all() -> None:
    changed = rewritten(create(PublishAllPorts=True), ("80/tcp",))
    assert changed["HostConfig"]["PublishAllPorts"] is False
    assert changed["HostConfig"]["PortBindings"] == {
        "80/tcp": [binding("127.0.0.1", "55001")],
        "90/tcp": [binding("127.0.0.1", "55000")],
    }
    document = inspected(changed)
    views.rewrite_inspect(document, {})
    assert document["HostConfig"]["PublishAllPorts"] is True
    assert document["HostConfig"]["PortBindings"] == {}


def port(kind: str, ip: str, public: int, private: int) -> dict[str, Any]:
    return {"Type": kind, "IP": ip, "PublicPort": public, "PrivatePort": private}


def row(changed: dict[str, Any], state: str, *ports: dict[str, Any]) -> dict[str, Any]:
    return {"Id": "1" * 64, "Names": ["/web"], "State": state, "Labels": changed["Labels"], "Ports": list(ports)}


def test_a_list_shows_the_hosts_ports() -> None:
    changed = rewritten(create(PortBindings=BINDINGS))
    shown = row(changed, "running", port("tcp", "127.0.0.1", 55000, 80), {"Type": "tcp", "PrivatePort": 90})
    views.rewrite_row(shown, ENDS)
    assert shown["Ports"] == [port("tcp", "127.0.0.1", 49152, 80), {"Type": "tcp", "PrivatePort": 90}]


def test_what_others_published_is_shown_as_it_is() -> None:
    shown = row({"Labels": {}}, "running", port("tcp", "0.0.0.0", 8080, 80))
    views.rewrite_row(shown, ENDS)
    assert shown["Ports"] == [port("tcp", "0.0.0.0", 8080, 80)]


@pytest.mark.parametrize("mode", ["host", "none", "container:x"])
def test_containers_without_a_network_of_their_own_are_left_alone(mode: str) -> None:
    assert not views.is_forwarded(create(NetworkMode=mode, PortBindings=BINDINGS))


@pytest.mark.parametrize(
    "wrong", [{"x/tcp": [{}]}, {"80/tcp": [binding("nowhere", "")]}, {"80/tcp": [binding("", "9-8")]}]
)
def test_what_the_engine_would_refuse_is_not_read(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        views.asked(create(PortBindings=wrong), ())


@pytest.mark.parametrize(
    ("state", "live"),
    [("running", [55000]), ("paused", [55000]), ("restarting", [8080, 55000, 81]), ("exited", []), ("created", [])],
)
def test_live_is_what_the_engine_leads_to_the_container(state: str, live: list[int]) -> None:
    changed = rewritten(create(PortBindings=BINDINGS))
    ports = [port("tcp", "127.0.0.1", 55000, 80)] if state in ("running", "paused") else []
    assert [one.guest.port for one in read_row(row(changed, state, *ports)).live] == live


def test_a_port_that_never_came_through_us_is_live_as_it_is() -> None:
    (one,) = read_row(row({"Labels": {}}, "running", port("udp", "0.0.0.0", 53, 53))).live
    assert (one.explicit, one.guest) == (Endpoint("udp", "0.0.0.0", 53), Endpoint("udp", "0.0.0.0", 53))


def test_a_container_about_to_start_is_read_with_all_its_ports() -> None:
    document = inspected(rewritten(create(PortBindings=BINDINGS)))
    document["Config"]["Labels"]["io.portchain.proxy-protocol/80/tcp"] = "v2"
    found = from_inspect(document)
    assert (found.name, len(found.live), found.proxy) == ("web", 3, (("80/tcp", "v2"),))


def test_only_we_may_set_our_label() -> None:
    document = {"Labels": {LABEL: "[]", "a": "b"}}
    views.strip_label(document)
    assert document == {"Labels": {"a": "b"}}
