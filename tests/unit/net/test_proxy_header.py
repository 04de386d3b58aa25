"""The headers, by the examples and the layout of HAProxy's proxy-protocol.txt."""

from __future__ import annotations

import pytest

from portchain.net.proxy_protocol import Peer, encode_header

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


@pytest.mark.parametrize(
    ("source", "destination", "v1", "v2"),
    [
        (
            ("192.168.0.1", 56324),
            ("192.168.0.11", 443),
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
            "21 11 000c c0a80001 c0a8000b dc04 01bb",
        ),
        (
            ("::ffff:192.168.0.1", 56324),
            ("::ffff:192.168.0.11", 443),
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
            "21 11 000c c0a80001 c0a8000b dc04 01bb",
        ),
        (
            ("2001:db8::1", 65535),
            ("fe80::2%eth0", 1),
            b"PROXY TCP6 2001:db8::1 fe80::2 65535 1\r\n",
            "21 21 0024 20010db8000000000000000000000001 fe800000000000000000000000000002 ffff 0001",
        ),
        (None, None, b"PROXY UNKNOWN\r\n", "20 00 0000"),
    ],
)
def test_both_versions(source: Peer | None, destination: Peer | None, v1: bytes, v2: str) -> None:
    assert encode_header("v1", source, destination) == v1
    assert encode_header("v2", source, destination) == SIGNATURE + bytes.fromhex(v2)


def test_no_version_no_header() -> None:
    assert encode_header("", ("192.0.2.1", 1), ("192.0.2.2", 2)) == b""
