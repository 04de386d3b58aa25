from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest

from portchain.host.docker_api.list_filters import take_port_filters


def row(name: str, *ports: tuple[int, int, str]) -> dict[str, Any]:
    return {"Id": name, "Ports": [{"PublicPort": a, "PrivatePort": b, "Type": kind} for a, b, kind in ports]}


ROWS = [
    row("web", (49152, 80, "tcp"), (49153, 81, "udp")),
    row("db", (49154, 5432, "tcp")),
    {"Id": "none", "Ports": None},
]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"publish": ["49152"]}, ["web"]),
        ({"publish": ["49153"]}, []),
        ({"publish": ["49153/udp"]}, ["web"]),
        ({"publish": ["49152-49160/tcp"]}, ["web", "db"]),
        ({"publish": ["49152"], "expose": ["5432"]}, ["web", "db"]),
        ({"publish": {"49154": True}}, ["db"]),
    ],
)
def test_published_ports_are_the_hosts(filters: dict[str, Any], found: list[str]) -> None:
    asked = urlencode({"all": "1", "filters": json.dumps({**filters, "status": ["running"]})})
    query, chosen = take_port_filters(asked)
    assert [one["Id"] for one in chosen(ROWS)] == found
    assert json.loads(parse_qs(query)["filters"][0]) == {"status": ["running"]}
    assert parse_qs(query)["all"] == ["1"]


def test_a_limit_counts_what_is_left() -> None:
    filters = json.dumps({"publish": ["49152-49160"]})
    query, chosen = take_port_filters(urlencode({"limit": "1", "filters": filters}))
    assert (query, [one["Id"] for one in chosen(ROWS)]) == ("all=1", ["web"])


@pytest.mark.parametrize("filters", ["{", "[]", '{"publish": ["x"]}', '{"publish": 1}', '{"expose": ["80"]}', ""])
def test_the_rest_is_the_engines(filters: str) -> None:
    query = urlencode({"all": "1", "filters": filters})
    asked, chosen = take_port_filters(query)
    assert (asked, chosen(ROWS)) == (query, ROWS)
