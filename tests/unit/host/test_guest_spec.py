from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portchain.host.guest_spec import GuestSpec, parse_size

FIELDS: dict[str, Any] = {
    "name": "linuxkit",
    "hostname": "linuxkit",
    "uid_base": 1_000_000,
    "uid_count": 1_000_000,
    "memory": 2 << 30,
    "cpus": 2.0,
    "pids": 4096,
    "subnet": "192.168.65.0/24",
    "root": "/images/guest",
    "images": {"docker": "/images/docker"},
    "bundles": "/bundles",
    "source": "/source",
    "disk": "/data.img",
    "disk_size": 20 << 30,
    "run_dir": "/run/portchain/linuxkit",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1048576", 1048576),
        (512, 512),
        ("2g", 2 << 30),
        ("1.5G", 3 << 29),
        ("64 MiB", 64 << 20),
        ("1t", 1 << 40),
    ],
)
def test_sizes_are_read_as_docker_writes_them(text: str | int, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "g", "2x", "-1g", "2 gigs"])
def test_what_is_no_size_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


def test_addresses_follow_docker_desktops_layout() -> None:
    spec = GuestSpec.from_dict(FIELDS)
    assert (spec.gateway, spec.address) == ("192.168.65.2", "192.168.65.3")


def test_a_dumped_spec_is_read_back(tmp_path: Path) -> None:
    spec = GuestSpec.from_dict(FIELDS)
    (tmp_path / "guest.json").write_text(spec.dump())
    assert GuestSpec.load(tmp_path / "guest.json") == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../etc"}, "guest name"),
        ({"name": "Linux Kit"}, "guest name"),
        ({"uid_base": 0}, "uid_base 0"),
        ({"uid_count": 10}, "uid_count 10"),
        ({"subnet": "192.168.65.0/30"}, "too small"),
        ({"subnet": "192.168.65.7/24"}, "host bits"),
    ],
)
def test_a_bad_spec_is_refused_by_what_is_wrong(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GuestSpec.from_dict(FIELDS | change)


def test_an_unknown_key_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="colour"):
        GuestSpec.from_dict({**FIELDS, "colour": "blue"})
