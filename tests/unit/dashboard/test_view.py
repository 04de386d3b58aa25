from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from portchain.dashboard import live
from portchain.dashboard.page_changes import Picture
from portchain.dashboard.view import SECTIONS, LivePage
from portchain.trace.collect.evidence_session import Session
from portchain.trace.judge.chains import trace_all
from portchain.trace.model import Host, Machine
from portchain.trace.render import report_page
from support.machines import big, hostile, seed


def drawn(machine: Machine) -> Picture:
    return LivePage().draw(machine, trace_all(machine))


def test_the_sections_are_the_reports_and_the_dashboards_own() -> None:
    assert set(drawn(seed()).sections) == {*report_page.SECTIONS, *SECTIONS}


def test_what_can_be_done_is_what_the_state_allows() -> None:
    machine = big()
    assert machine.guest
    states = {one.id: one.state for one in machine.guest.containers}
    found = set(re.findall(r'data-(?:post|open)="containers/(\w+)/(\w+)"', drawn(machine).sections["live-containers"]))
    for identity, state in states.items():
        actions = {action for each, action in found if each == identity}
        assert actions == {"running": {"stop", "restart", "logs", "shell"}, "exited": {"start", "logs"}}[state]


def test_a_paused_container_is_resumed_and_not_started() -> None:
    machine = seed()
    assert machine.guest
    paused = tuple(replace(one, state="paused") for one in machine.guest.containers)
    html = drawn(replace(machine, guest=replace(machine.guest, containers=paused))).sections["live-containers"]
    assert html.count("/unpause") == len(paused)
    assert "/start" not in html


def test_broken_chains_are_told_in_the_verdicts_words() -> None:
    machine = big()
    verdicts = [chain.verdict.text for trace in trace_all(machine) for chain in trace.chains if chain.verdict]
    told = drawn(machine).broken
    assert len(verdicts) > 2
    assert all(any(text in line for line in told) for text in verdicts)


@pytest.mark.parametrize("section", SECTIONS)
def test_names_from_the_guest_are_text(section: str) -> None:
    html = drawn(hostile()).sections[section]
    tags = set(re.findall(r"<(\w+)", html))
    assert tags <= {"table", "thead", "tr", "th", "tbody", "td", "code", "b", "button", "small"}
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", html)


def test_a_guest_that_is_down_has_a_page_as_well() -> None:
    machine = Machine(Host("guest", "stopped", None, "nobody answers"), None, "it is stopped")
    picture = drawn(machine)
    assert "it is stopped" in picture.sections["summary"]
    assert "<button" not in picture.sections["live-containers"] + picture.sections["live-services"]
    assert '<script src="live.js">' in picture.page('<script src="live.js"></script>')


def test_the_same_machine_a_second_later_differs_in_its_time_alone() -> None:
    machine = seed()
    assert machine.guest
    later = replace(machine, guest=replace(machine.guest, time=machine.guest.time + 1))
    view = LivePage()
    before, after = (view.draw(one, trace_all(one)).sections for one in (machine, later))
    assert {key for key in before if before[key] != after[key]} == {"summary"}


def test_a_port_that_a_running_container_lost_is_broken() -> None:
    machine = seed()
    assert machine.host.forwarder
    left = tuple(one for one in machine.host.forwarder.forwards if one.listen.port != 8080)
    machine = replace(machine, host=replace(machine.host, forwarder=replace(machine.host.forwarder, forwards=left)))
    picture = LivePage().draw(machine, trace_all(machine))
    assert [line.split(":")[1] for line in picture.broken] == ["8080 (nginx)"]
    assert "chain-tcp-:8080" in picture.sections["live-traffic"]
    assert "8080" in picture.sections["picture"]


def test_a_guest_that_tells_nonsense_ends_nothing() -> None:
    class Nonsense(Session):
        def collect(self, *_asked: object, **_choice: object) -> Machine:
            raise RecursionError("<nested>")

    with ThreadPoolExecutor(1) as threads, Nonsense("nobody") as session:
        picture = asyncio.run(live.picture_source("nobody", threads, session)())
    assert "RecursionError: &lt;nested&gt;" in picture.sections["summary"]
