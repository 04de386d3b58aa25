"""What the engine does not publish is no broken chain, and is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from portchain.trace.judge.chains import trace, trace_all
from portchain.trace.model import Attachment, Machine, Network, WantedPublication
from portchain.trace.query import Query
from portchain.trace.render import report_page, svg, terminal_view
from portchain.trace.summary import differences
from portchain.trace.unpublished import unpublished
from support.one_container import endpoint, machine, web

NETWORKS = (
    Network("n" * 64, "bridge", "bridge", "docker0"),
    Network("i" * 64, "inner", "bridge", "br-inner", internal=True),
    Network("m" * 64, "wide", "macvlan"),
    Network("v" * 64, "flat", "ipvlan"),
    Network("0" * 64, "none", "null"),
    Network("h" * 64, "host", "host"),
)


def asking(*networks: str, mode: str = "", **words: Any) -> Machine:
    """A container that asks for port 8080 in these networks, without any forward."""
    attached = tuple(Attachment(one, next(n.id for n in NETWORKS if n.name == one), "10.9.0.2") for one in networks)
    made = web(attachments=attached, network_mode=mode or next(iter(networks), "default"), bound=(), **words)
    seen = machine(forwards=(), containers=(made,), host={"listeners": ()})
    assert seen.guest
    return replace(seen, guest=replace(seen.guest, networks=NETWORKS))


@pytest.mark.parametrize(
    ("seen", "reason", "remedy"),
    [
        (asking("inner"), "network inner is internal", "docker network connect bridge web"),
        (asking("wide"), "network wide (macvlan) gives it an address of its own", "such as bridge"),
        (asking("flat"), "network flat (ipvlan) gives it an address of its own", "such as bridge"),
        (asking("inner", "wide"), "network inner is internal, network wide (macvlan)", "such as bridge"),
        (asking("none"), "network none leads nowhere", "such as bridge"),
        (asking("host"), "with --network host there is no -p", "without --network host"),
    ],
    ids=["internal", "macvlan", "ipvlan", "two", "none", "host"],
)
def test_what_the_engine_does_not_publish_is_no_broken_chain(seen: Machine, reason: str, remedy: str) -> None:
    assert trace_all(seen) == ()
    (found,) = unpublished(seen.guest)
    assert found.ports == ("*:8080->80/tcp",)
    assert reason in found.reason
    assert remedy in found.remedy
    verdict = trace(seen, Query(8080)).verdict
    assert verdict
    assert verdict.code == "not-published"
    assert (verdict.text, verdict.remedy) == (str(found), found.remedy)
    for drawn in (report_page.page(seen, ()), svg.picture(seen, ())):
        assert "*:8080-&gt;80/tcp" in drawn
    assert reason.partition(",")[0] in report_page.page(seen, ())
    assert any(reason in str(part) for part in terminal_view.machine(seen, ()).content.renderables)


def test_what_was_disconnected_from_its_networks_is_broken() -> None:
    seen = asking()
    (found,) = trace_all(seen)
    assert found.verdict
    assert found.verdict.code == "network-disconnected"
    assert "it is in no network" in found.verdict.text
    assert found.verdict.remedy == "docker network connect bridge web"
    assert unpublished(seen.guest) == ()


@pytest.mark.parametrize("seen", [asking("bridge"), asking("inner", "bridge")], ids=["bridge", "both"])
def test_what_the_engine_should_publish_and_does_not_is_broken(seen: Machine) -> None:
    (found,) = trace_all(seen)
    assert found.verdict
    assert found.verdict.code == "forward-missing"
    assert unpublished(seen.guest) == ()


def test_a_container_that_does_not_run_is_not_said_to_be_unpublished() -> None:
    seen = asking("inner", state="exited")
    assert unpublished(seen.guest) == ()
    verdict = trace(seen, Query(8080)).verdict
    assert verdict
    assert verdict.code == "container-stopped"


def test_a_process_of_the_host_at_the_same_port_is_not_to_blame() -> None:
    seen = asking("inner")
    seen = replace(seen, host=replace(seen.host, listeners=machine().host.listeners))
    verdict = trace(seen, Query(8080)).verdict
    assert verdict
    assert verdict.code == "not-published"


def test_any_port_is_said_as_well() -> None:
    at = endpoint("udp:127.0.0.1:53")
    seen = asking("inner", wanted=(WantedPublication(80, "tcp", None, None), WantedPublication(53, "udp", at, None)))
    (found,) = unpublished(seen.guest)
    assert found.ports == ("127.0.0.1:53->53/udp", "80/tcp")


def test_a_chain_that_is_expected_says_why_it_is_not_there() -> None:
    (text,) = differences({"port": 8080}, (), unpublished(asking("inner").guest))
    assert text.startswith("nothing is forwarded from tcp port 8080; container web: ")
    assert "network inner is internal" in text
    (text,) = differences({"container": "web", "container_port": 80}, (), unpublished(asking("inner").guest))
    assert text.startswith("nothing is forwarded to tcp port 80 of container web; container web: ")
    assert differences({"port": 80}, (), unpublished(asking("inner").guest)) == [
        "nothing is forwarded from tcp port 80"
    ]
