from __future__ import annotations

import contextlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given

from portchain.diagnostics import index_page
from portchain.linux import evidence_archive
from portchain.linux.evidence_archive import Item, Probe, ProbeError
from support.mutations import mutated


def refuse() -> bytes:
    raise ProbeError("not here")


def test_what_fails_is_a_note_and_the_rest_goes_on() -> None:
    probes = [
        Probe("a", "A", refuse),
        Probe("b", "B", evidence_archive.run("false")),
        Probe("c", "C", evidence_archive.run("no-such-program")),
        Probe("d", "D", evidence_archive.end_of(Path("/nowhere"))),
        Probe("e", "E", evidence_archive.run("sleep", "5", seconds=0.1)),
        Probe("f", "F", evidence_archive.run("echo", "password=x")),
    ]
    items = list(evidence_archive.gather(probes, 10))
    assert [bool(item.note) for item in items] == [True] * 5 + [False]
    assert items[4].note == "sleep 5: not done after 0 s"
    assert items[5].data == b"password=***\n"


def test_size_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * evidence_archive.MAX_ITEM + b"the end")
    long = Probe("long", "", lambda: b"y" * (evidence_archive.MAX_ITEM + 1))
    cut, log = evidence_archive.gather([long, Probe("log", "", evidence_archive.end_of(tmp_path / "log"))], 10)
    assert len(cut.data) == evidence_archive.MAX_ITEM
    assert cut.note.startswith("cut")
    assert log.data.endswith(b"the end")


def test_time_is_bounded() -> None:
    now = 100.0

    def slow() -> bytes:
        nonlocal now
        now += 15
        return b""

    items = evidence_archive.gather([Probe(str(number), "", slow) for number in range(3)], 20, lambda: now)
    assert [item.note.partition(":")[0] for item in items] == ["", "", "left out"]


def stream(*items: Item) -> io.BytesIO:
    target = io.BytesIO()
    evidence_archive.write_stream(items, target)
    target.seek(0)
    return target


def test_items_come_over_as_they_are() -> None:
    items = [Item("a/b.txt", "Ä title", b"data", "", 0.25), Item("c", "C", b"", "no\nway", 1.0)]
    assert list(evidence_archive.read_stream(stream(*items))) == items


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/../../b", "a\nb"])
def test_a_guest_cannot_name_files_elsewhere(name: str) -> None:
    with pytest.raises(ProbeError, match="sends a file with the name"):
        list(evidence_archive.read_stream(stream(Item(name, "", b"x"))))


def test_a_time_that_is_no_number_is_none() -> None:
    item = Item("a", "", b"x")
    odd = stream(replace(item, seconds="²"))
    assert list(evidence_archive.read_stream(odd)) == [item]


def test_a_guest_cannot_send_links_or_too_much() -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    target.seek(0)
    with pytest.raises(ProbeError):
        list(evidence_archive.read_stream(target))
    with pytest.raises(ProbeError, match="too much"):
        list(evidence_archive.read_stream(stream(Item("big", "", bytes(2 * evidence_archive.MAX_ITEM + 1)))))


def test_a_header_without_end_is_not_read_to_its_end() -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 1 << 32
    endless = io.BytesIO(header.tobuf() + bytes(1 << 20))
    with pytest.raises(ProbeError, match="sends too much"):
        list(evidence_archive.read_stream(endless, limit=64 << 10))
    assert endless.tell() < 128 << 10


def test_a_file_with_holes_is_refused() -> None:
    sparse = tarfile.TarInfo("hole")
    sparse.type, sparse.size = tarfile.GNUTYPE_SPARSE, 0
    with pytest.raises(ProbeError, match="'hole'"):
        list(evidence_archive.read_stream(io.BytesIO(sparse.tobuf(tarfile.GNU_FORMAT) + bytes(1024))))


def test_a_stream_broken_off_is_an_error() -> None:
    whole = stream(Item("a", "", b"x" * 5000)).getvalue()
    with pytest.raises(tarfile.TarError):
        list(evidence_archive.read_stream(io.BytesIO(whole[:3000])))


def test_the_page_leads_to_everything_and_trusts_nothing() -> None:
    items = [Item("guest/logs/a b.log", "<script>", b"x"), Item("host/x", "X", b"", "why <not>")]
    text = index_page.index("portchain", {"Guest": "<b>"}, items)
    assert 'href="guest/logs/a%20b.log"' in text
    assert "What is missing" in text
    assert "<script>" not in text and "<b>" not in text and "<not>" not in text


@given(
    data=mutated(stream(Item("logs/a.txt", "A", b"line\n" * 100, "note", 0.5)).getvalue(), (bytes(512), b"PORTCHAIN."))
)
def test_any_stream_is_items_or_an_error(data: bytes) -> None:
    with contextlib.suppress(ProbeError, OSError, tarfile.TarError):
        list(evidence_archive.read_stream(io.BytesIO(data)))
