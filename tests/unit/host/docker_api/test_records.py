"""What is kept of containers on the host, and what is taken over from labels that were kept in the guest before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portchain.host.docker_api.earlier_records import LABEL, read_earlier_record
from portchain.host.docker_api.publications import ContainerPublication, assign_guest_endpoints
from portchain.host.docker_api.records import Record, Records

WEB, API = "a" * 64, "b" * 64

keys = st.builds("{}/{}".format, st.integers(1, 65535), st.sampled_from(["tcp", "udp"]))
bindings = st.builds(
    lambda key, ip, port, of_all: ContainerPublication.read(key, {"HostIp": ip, "HostPort": port}, of_all),
    keys,
    st.sampled_from(["", "127.0.0.1", "0.0.0.0", "::1"]),
    st.sampled_from(["", "0", "80", "8000-8010"]),
    st.booleans(),
)


@given(st.lists(bindings, max_size=8), st.text(), st.text())
def test_a_record_is_read_back_as_it_was(asked: list[ContainerPublication], refused: str, told: str) -> None:
    record = Record(
        tuple(assign_guest_endpoints(asked, [])), {"80/tcp": "v2"}, {"tcp:127.0.0.1:55000": 49152}, refused, told
    )
    assert Record.read(json.loads(json.dumps(record.as_dict()))) == record


def published(*ports: str) -> tuple[ContainerPublication, ...]:
    asked = [ContainerPublication.read(f"{80 + index}/tcp", {"HostPort": port}) for index, port in enumerate(ports)]
    return tuple(assign_guest_endpoints([one for one in asked if one], []))


def test_records_are_kept_by_the_file_until_their_container_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    record = Record(published("8080"))
    Records(path).put(WEB, record)
    again = Records(path)
    assert (list(again), again.get(WEB), again.get(API), again.earlier) == ([WEB], record, Record(), None)
    again.forget(WEB)
    assert list(Records(path)) == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 2}', '{"version": 2, "containers": {"x": {"published": 1}}}']
)
def test_a_damaged_file_counts_as_empty(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ports.json"
    path.write_text(text)
    records = Records(path)
    assert list(records) == []
    records.put(WEB, Record(refused="no"))
    assert Records(path).get(WEB).refused == "no"


def labelled(*rows: Any, bindings: dict[str, Any] | None = None) -> dict[str, Any]:
    """A container as one created before there were records."""
    places = {row[0]: [{"HostIp": row[3], "HostPort": str(row[4])}] for row in rows}
    labels = {LABEL: json.dumps(rows), "io.portchain.proxy-protocol/80/tcp": "v2"}
    host_config = {"PortBindings": places if bindings is None else bindings}
    return {"Id": WEB, "Config": {"Labels": labels}, "HostConfig": host_config}


EARLIER = ["80/tcp", "", "", "127.0.0.1", 55000, True], ["81/tcp", "::1", "8081", "127.0.0.1", 8081]


def test_a_container_created_before_is_taken_over_with_its_ports(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    path.write_text(json.dumps({WEB: {"tcp:127.0.0.1:55000": 49160}}))
    records = Records(path)
    assert records.earlier == {WEB: {"tcp:127.0.0.1:55000": 49160}}
    record = read_earlier_record(labelled(*EARLIER), records.earlier[WEB])
    assert record is not None
    assert [(one.key, one.ip, one.port, str(one.guest), one.of_all) for one in record.published] == [
        ("80/tcp", "", "", "tcp:127.0.0.1:55000", True),
        ("81/tcp", "::1", "8081", "tcp:127.0.0.1:8081", False),
    ]
    assert (record.proxy, record.chosen) == ({"80/tcp": "v2"}, {"tcp:127.0.0.1:55000": 49160})
    records.add_earlier({WEB: record})
    assert (Records(path).get(WEB), Records(path).earlier) == (record, None)


@pytest.mark.parametrize(
    "document",
    [
        labelled(*EARLIER, bindings={}),
        labelled(*EARLIER, bindings={"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "55000"}], "81/tcp": None}),
        labelled(["9/sctp", "", "9", "0.0.0.0", 9]),
        labelled([0, 0, 0, 0, 0]),
        labelled(),
        {"Config": {"Labels": {LABEL: "["}}},
        {"Config": {"Labels": None}},
    ],
)
def test_a_label_that_an_image_brought_is_nothing(document: dict[str, Any]) -> None:
    assert read_earlier_record(document, {}) is None
