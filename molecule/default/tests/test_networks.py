"""Networks and containers as the engine says, asked through the host's docker.sock."""

from __future__ import annotations

from typing import Any

import pytest


def test_network_list(engine: Any, seed: dict[str, Any]) -> None:
    assert {n.name: n.attrs["Driver"] for n in engine.networks.list()} == seed["guest"]["networks"]


@pytest.mark.parametrize("bridge", ["docker0", "br-<first 12 of the network id>"])
def test_subnets(engine: Any, seed: dict[str, Any], bridge: str) -> None:
    facts = seed["guest"]["bridges"][bridge]
    network = engine.networks.list(names=[facts["network"]])[0]
    assert network.attrs["IPAM"]["Config"] == [{"Subnet": facts["subnet"], "Gateway": facts["gateway"]}]


def test_minikube_network_is_made_as_minikube_makes_it(engine: Any, seed: dict[str, Any]) -> None:
    (network,) = engine.networks.list(names=["minikube"])
    assert network.attrs["Options"] == seed["guest"]["minikube_network_options"]
    assert network.attrs["Labels"] == seed["guest"]["minikube_network_labels"]
    assert not any(network.attrs[key] for key in ("Internal", "Attachable", "Ingress", "EnableIPv6"))


def test_default_bridge_options(engine: Any) -> None:
    (network,) = engine.networks.list(names=["bridge"])
    assert network.attrs["Options"] == {
        "com.docker.network.bridge.default_bridge": "true",
        "com.docker.network.bridge.enable_icc": "true",
        "com.docker.network.bridge.enable_ip_masquerade": "true",
        "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
        "com.docker.network.bridge.name": "docker0",
        "com.docker.network.driver.mtu": "1500",
    }


@pytest.mark.parametrize("name", ["minikube", "nginx"])
def test_containers_have_the_seeds_addresses_and_ports(raw_engine: Any, seed: dict[str, Any], name: str) -> None:
    facts = seed["containers"][name]
    settings = raw_engine.containers.get(name).attrs["NetworkSettings"]
    endpoint = settings["Networks"][facts["network"]]
    assert f"{endpoint['IPAddress']}/{endpoint['IPPrefixLen']}" == facts["ip"]
    assert endpoint["MacAddress"] == facts["mac"]
    published = {int(port.partition("/")[0]): int(b[0]["HostPort"]) for port, b in settings["Ports"].items() if b}
    assert published == facts["ports"]


@pytest.mark.parametrize("name", ["minikube", "nginx"])
def test_docker_ps_on_the_host_reads_as_the_seeds(engine: Any, seed: dict[str, Any], name: str) -> None:
    (row,) = engine.api.containers(filters={"name": name})
    shown = {
        (f"{port['IP']}:{port['PublicPort']}->" if "IP" in port else "") + f"{port['PrivatePort']}/{port['Type']}"
        for port in row["Ports"]
    }
    assert shown == set(seed["host"]["docker_ps_ports"][name])


def test_inspect_shows_what_was_asked_for(engine: Any) -> None:
    bindings = engine.containers.get("minikube").attrs["HostConfig"]["PortBindings"]
    assert bindings["22/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": ""}]


def test_nginx_also_exposes_80_as_the_seeds_does(engine: Any) -> None:
    assert engine.containers.get("nginx").attrs["NetworkSettings"]["Ports"]["80/tcp"] is None


def test_minikube_runs_what_a_node_runs(host: Any, seed: dict[str, Any]) -> None:
    running = set(host.check_output("ps -e -o comm=").split())
    assert {name[:15] for name in seed["containers"]["minikube"]["runs"]} <= running
