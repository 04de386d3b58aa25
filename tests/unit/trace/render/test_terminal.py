"""What people read in a terminal, with and without colours."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from portchain.trace.chain import Trace
from portchain.trace.judge.chains import trace, trace_all
from portchain.trace.model import Machine
from portchain.trace.query import Query
from portchain.trace.render import terminal_view
from support.machines import big, hostile, seed


def written(what: RenderableType, width: int = 80, encoding: str = "utf-8", **words: bool) -> str:
    """As it comes out of a pipe, or with ``force_terminal`` of a terminal."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    environment = {"TERM": "xterm"}
    Console(file=file, width=width, highlight=False, _environ=environment, **words).print(what)  # type: ignore[arg-type]
    file.flush()
    return file.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


def asked(machine: Machine, port: int) -> Trace:
    """The trace of a port."""
    return trace(machine, Query(port))


def test_the_seeds_machine_has_room_on_a_screen() -> None:
    text = written(terminal_view.machine(seed(), trace_all(seed())))
    lines = text.splitlines()
    assert lines[0] == "guest linuxkit  running · 15 services · 2 containers · 6 ports, all reachable"
    assert "  *:8080  ──→ 127.0.0.1:8080  ──→ 172.17.0.2:8080    ── nginx :8080 nginx" in lines
    assert "  *:49672 ──→ 127.0.0.1:55002 ──→ 192.168.49.2:5000  ─┼ minikube :5000 registry" in lines
    assert len(lines) < 30
    assert max(map(len, lines)) <= 80


def test_a_chain_is_read_from_top_to_bottom() -> None:
    lines = written(terminal_view.trace(asked(seed(), 8080))).splitlines()
    assert lines[0] == "*:8080 → nginx  whole"
    assert [line.split("  ")[1].strip() for line in lines if "●" in line] == [
        *("● host socket", "● forward", "● guest listener", "● nat", "● filter", "● bridge", "● veth"),
        *("● container", "● container socket 0.0.0.0:8080"),
    ]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("words", [{}, {"force_terminal": True}, {"force_terminal": True, "no_color": True}])
def test_a_broken_chain_says_where_why_and_what_to_do(words: dict[str, bool]) -> None:
    text = written(terminal_view.trace(asked(big(), 9200)), **words)
    shown = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert "✗ nat" in shown
    assert "dnat-missing" in shown
    assert "docker restart search" in shown
    assert "○ bridge" in shown
    assert ("\x1b[1;31m" in text) == (words == {"force_terminal": True})


def test_times_and_evidence_of_a_probe_are_shown() -> None:
    (chain,) = asked(seed(), 8080).chains
    probed = replace(chain.hops[3], microseconds=169.4, evidence="counted 7 → 8")
    told = {"answer": "end", "bytes": 41, "connect": 60.0, "back": 8514.2, "total": 8791.3}
    chain = replace(chain, hops=(*chain.hops[:3], probed, *chain.hops[4:]), probe=told)
    found = Trace("linuxkit", "8080", 0.0, (chain,))
    text = written(terminal_view.trace(found))
    assert "169 µs  172.17.0.2:8080" in text
    assert "counted 7 → 8" in text
    assert "and back           8514 µs  41 bytes, the server's end came" in text
    assert "in all             8791 µs" in text


def test_a_probe_that_nobody_ended_has_no_way_back() -> None:
    (chain,) = asked(seed(), 8080).chains
    told = {"answer": "silence", "bytes": 0, "connect": 60.0, "back": None, "total": 300_123.0}
    text = written(terminal_view.trace(Trace("linuxkit", "8080", 0.0, (replace(chain, probe=told),))))
    assert "and back" not in text
    assert "in all           300123 µs  no bytes, no end in time" in text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_unicode_gets_what_it_has(encoding: str) -> None:
    for machine in (seed(), big(), hostile()):
        parts = [terminal_view.machine(machine, trace_all(machine)), *map(terminal_view.trace, trace_all(machine))]
        text = "".join(written(part, encoding=encoding) for part in parts)
        assert text.isascii()
        assert "nat" in text


def test_nothing_that_a_guest_says_is_markup_or_control() -> None:
    machine = hostile()
    texts = [written(terminal_view.machine(machine, trace_all(machine)), 400)]
    texts += [written(terminal_view.trace(one), 400) for one in trace_all(machine)]
    assert all(line.isprintable() for text in texts for line in text.splitlines())
    assert "[31m" in texts[1]


def test_a_guest_that_does_not_tell_is_drawn_as_far_as_it_was_seen() -> None:
    machine = replace(seed(), guest=None, guest_error="no answer from evidence.sock")
    text = written(terminal_view.machine(machine, trace_all(machine)))
    assert "no answer from evidence.sock" in text
    assert "*:8080" in text


def test_nothing_forwarded_is_said() -> None:
    assert written(terminal_view.trace(Trace("linuxkit", "*", 0.0, ()))) == "nothing is forwarded\n"
