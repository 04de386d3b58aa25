"""The report's page, as far as it can be told without a browser."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from portchain.trace.judge.chains import trace, trace_all
from portchain.trace.model import Link, Machine
from portchain.trace.query import Query
from portchain.trace.render import report_page, svg
from support.machines import big, hostile, seed

MACHINES = {"seed": seed(), "big": big(), "hostile": hostile()}
SVG = "{http://www.w3.org/2000/svg}"


class Elements(HTMLParser):
    """Counts elements, and keeps ids and what would load or run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.active: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One element."""
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        loads = ("src", "href", "style", "srcset", "action")
        self.active += [
            (n, v) for n, v in attrs if n.startswith("on") or (n in loads and not (v or "").startswith("#"))
        ]


@pytest.mark.parametrize("name", MACHINES)
def test_the_page_loads_and_runs_nothing_but_its_own(name: str) -> None:
    found = Elements(report_page.page(MACHINES[name], trace_all(MACHINES[name])))
    assert found.active == []
    assert found.tags.count("script") == found.tags.count("style") == 1
    assert not {"img", "iframe", "object", "embed", "link", "form"} & set(found.tags)
    assert len(found.ids) == len(set(found.ids))
    assert set(report_page.SECTIONS) <= set(found.ids)


def test_the_policy_allows_the_pages_own_style_and_script_by_their_digests() -> None:
    text = report_page.page(seed(), trace_all(seed()))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (own,) = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", text, re.S)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_a_server_puts_its_own_head_in_place() -> None:
    text = report_page.page(seed(), trace_all(seed()), head='<link rel="stylesheet" href="/report.css">')
    assert '<link rel="stylesheet" href="/report.css">' in text
    assert "<style" not in text
    assert "<script" not in text


@pytest.mark.parametrize("name", MACHINES)
def test_each_section_is_what_the_page_has_in_its_element(name: str) -> None:
    machine = MACHINES[name]
    whole = report_page.page(machine, trace_all(machine))
    parts = report_page.sections(machine, trace_all(machine))
    assert tuple(parts) == report_page.SECTIONS
    assert [key for key, part in parts.items() if part not in whole] == []


def test_the_seeds_tables_are_there() -> None:
    parts = report_page.sections(seed(), trace_all(seed()))
    words = {
        "summary": ("all reachable", "linuxkit"),
        "containers": ("*:49671-&gt;32443/tcp", "172.17.0.2"),
        "host-listeners": ("tcp *:8080", "relay (pid 1155)"),
        "guest-listeners": ("127.0.0.1:55004", "1668/dockerd"),
        "nat-rules": ("--to-destination 172.17.0.2:8080", "DOCKER"),
        "networks": ("br-a22db289b316", "192.168.49.0/24"),
        "links": ("@if", "docker0", " in nginx"),
        "services": ("vpnkit-forwarder", "running"),
        "chains": ("container socket", "held by nginx (pid 2137)"),
    }
    assert [(key, word) for key, many in words.items() for word in many if word not in parts[key]] == []
    assert parts["verdicts"] == ""


def test_what_is_broken_is_said_once_with_all_its_ports() -> None:
    verdicts = report_page.sections(big(), trace_all(big()))["verdicts"]
    assert verdicts.count("veth-detached") == 1
    assert all(f'href="#chain-tcp-:{port}"' in verdicts for port in (2525, 1143, 1993, 9200, 5432, 3011))


def test_a_machine_without_its_guest_has_a_page() -> None:
    machine = replace(seed(), guest=None, guest_error="no answer from evidence.sock")
    text = report_page.page(machine, trace_all(machine))
    assert text.count("no answer from evidence.sock") >= 2
    assert '<span class="badge bad">' in text


@pytest.mark.parametrize("name", MACHINES)
def test_the_picture_is_xml_with_a_group_for_each_chain(name: str) -> None:
    machine = MACHINES[name]
    root = ElementTree.fromstring(svg.picture(machine, trace_all(machine)))
    groups = [one for one in root.iter(f"{SVG}g") if "chain" in one.get("class", "").split()]
    forwards = [one.listen for one in machine.published()]
    assert sorted((g.get("data-port"), g.get("data-protocol")) for g in groups) == sorted(
        (str(one.port), one.protocol) for one in forwards
    )
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title") is not None
    assert root.find(f"{SVG}desc") is not None


def test_a_picture_of_one_port_has_what_its_chain_goes_through() -> None:
    machine: Machine = seed()
    text = svg.picture(machine, [trace(machine, Query(8080))], whole=False)
    assert "nginx" in text
    assert "minikube" not in text


def test_a_veth_pairs_ends_are_told_apart_where_containers_number_theirs_alike() -> None:
    """Each namespace numbers its own interfaces: one of a container in a container may have any number."""
    seen = seed()
    assert seen.guest
    first, second, *_ = (one for one in seen.guest.containers if one.space)
    assert first.space and second.space
    ends = [next(link for link in one.space.links if link.peer) for one in (first, second) if one.space]
    twin = Link(ends[0].index, "inside", "veth", peer=ends[0].index + 1000)
    nested = replace(second, space=replace(second.space, links=(*second.space.links, twin)))
    containers = tuple(nested if one is second else one for one in seen.guest.containers)
    text = report_page.sections(replace(seen, guest=replace(seen.guest, containers=containers)), ())["links"]
    assert text == report_page.sections(seen, ())["links"]
