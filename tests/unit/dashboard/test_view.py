from __future__ import annotations

import re
from dataclasses import replace

import pytest
from chain.draw.machines import big, hostile, seed

from portchain.chain.draw import page
from portchain.chain.model import Host, Machine
from portchain.chain.walk import trace_all
from portchain.dashboard.changes import Picture
from portchain.dashboard.view import SECTIONS, View


def drawn(machine: Machine) -> Picture:
    return View().draw(machine, trace_all(machine))


def test_the_sections_are_the_reports_and_the_dashboards_own() -> None:
    assert set(drawn(seed()).sections) == {*page.SECTIONS, *SECTIONS}


def test_what_can_be_done_is_what_the_state_allows() -> None:
    machine = big()
    assert machine.guest
    states = {one.id: one.state for one in machine.guest.containers}
    found = set(re.findall(r'data-(?:post|open)="containers/(\w+)/(\w+)"', drawn(machine).sections["live-containers"]))
    for identity, state in states.items():
        actions = {action for each, action in found if each == identity}
        running = {"stop", "restart", "logs", "shell"}
        assert actions == (running if state == "running" else {"start", "logs"})


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
    view = View()
    before, after = (view.draw(one, trace_all(one)).sections for one in (machine, later))
    assert {key for key in before if before[key] != after[key]} == {"summary"}
