from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from portchain.diagnostics import gather, page
from portchain.diagnostics.gather import Item, Probe, ProbeError


def refuse() -> bytes:
    raise ProbeError("not here")


def test_what_fails_is_a_note_and_the_rest_goes_on() -> None:
    probes = [
        Probe("a", "A", refuse),
        Probe("b", "B", gather.run("false")),
        Probe("c", "C", gather.run("no-such-program")),
        Probe("d", "D", gather.end_of(Path("/nowhere"))),
        Probe("e", "E", gather.run("sleep", "5", seconds=0.1)),
        Probe("f", "F", gather.run("echo", "password=x")),
    ]
    items = list(gather.gather(probes, 10))
    assert [bool(item.note) for item in items] == [True] * 5 + [False]
    assert items[4].note == "sleep 5: no end after 0 s"
    assert items[5].data == b"password=***\n"


def test_size_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * gather.MAX_ITEM + b"the end")
    long = Probe("long", "", lambda: b"y" * (gather.MAX_ITEM + 1))
    cut, log = gather.gather([long, Probe("log", "", gather.end_of(tmp_path / "log"))], 10)
    assert len(cut.data) == gather.MAX_ITEM
    assert cut.note.startswith("cut")
    assert log.data.endswith(b"the end")


def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0

    def slow() -> bytes:
        nonlocal now
        now += 15
        return b""

    monkeypatch.setattr(gather, "time", SimpleNamespace(monotonic=lambda: now))
    items = gather.gather([Probe(str(number), "", slow) for number in range(3)], 20)
    assert [item.note.partition(":")[0] for item in items] == ["", "", "left out"]


def stream(*items: Item) -> io.BytesIO:
    target = io.BytesIO()
    gather.write_stream(items, target)
    target.seek(0)
    return target


def test_items_come_over_as_they_are() -> None:
    items = [Item("a/b.txt", "Ä title", b"data", "", 0.25), Item("c", "C", b"", "no\nway", 1.0)]
    assert list(gather.read_stream(stream(*items))) == items


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/../../b", "a\nb"])
def test_a_guest_cannot_name_files_elsewhere(name: str) -> None:
    with pytest.raises(ProbeError, match="sends a file with the name"):
        list(gather.read_stream(stream(Item(name, "", b"x"))))


def test_a_time_that_is_no_number_is_none() -> None:
    item = Item("a", "", b"x")
    odd = stream(replace(item, seconds="²"))
    assert list(gather.read_stream(odd)) == [item]


def test_a_guest_cannot_send_links_or_too_much() -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    target.seek(0)
    with pytest.raises(ProbeError):
        list(gather.read_stream(target))
    with pytest.raises(ProbeError, match="too much"):
        list(gather.read_stream(stream(Item("big", "", bytes(2 * gather.MAX_ITEM + 1)))))


def test_a_stream_broken_off_is_an_error() -> None:
    whole = stream(Item("a", "", b"x" * 5000)).getvalue()
    with pytest.raises(tarfile.TarError):
        list(gather.read_stream(io.BytesIO(whole[:3000])))


def test_the_page_leads_to_everything_and_trusts_nothing() -> None:
    items = [Item("guest/logs/a b.log", "<script>", b"x"), Item("host/x", "X", b"", "why <not>")]
    text = page.index("portchain", {"Guest": "<b>"}, items)
    assert 'href="guest/logs/a%20b.log"' in text
    assert "What is missing" in text
    assert "<script>" not in text and "<b>" not in text and "<not>" not in text
