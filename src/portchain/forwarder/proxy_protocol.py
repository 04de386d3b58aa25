"""The PROXY protocol: a header that tells a server whom the proxy speaks for. Pure.

Source: HAProxy's proxy-protocol.txt, versions 1 and 2.
"""

from __future__ import annotations

import ipaddress
import struct

Peer = tuple[str, int]

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_LOCAL, _PROXY = 0x20, 0x21
_TCP = {4: 0x11, 6: 0x21}


def header(version: str, source: Peer | None, destination: Peer | None) -> bytes:
    """The header, at most 107 bytes, in ``version`` v1 or v2; empty for no version.

    ``source`` is the client and ``destination`` what it connected to, numeric address and port; None for unix sockets,
    whose clients have none. IPv4 that came through an IPv6 socket is shown as IPv4.
    """
    if not version:
        return b""
    if source is None or destination is None:
        return b"PROXY UNKNOWN\r\n" if version == "v1" else _SIGNATURE + struct.pack("!BBH", _LOCAL, 0, 0)
    ends = [(_address(address), port) for address, port in (source, destination)]
    (one, from_port), (other, to_port) = ends
    if version == "v1":
        return f"PROXY TCP{one.version} {one} {other} {from_port} {to_port}\r\n".encode()
    body = one.packed + other.packed + struct.pack("!HH", from_port, to_port)
    return _SIGNATURE + struct.pack("!BBH", _PROXY, _TCP[one.version], len(body)) + body


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address
