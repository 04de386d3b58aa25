"""The PROXY protocol: a header that tells a server which client the proxy connects for. Pure.

Source: HAProxy's proxy-protocol.txt, versions 1 and 2.
"""

from __future__ import annotations

import ipaddress
import struct

Peer = tuple[str, int]

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_LOCAL, _PROXY = 0x20, 0x21
_TCP = {4: 0x11, 6: 0x21}


def encode_header(version: str, source: Peer | None, destination: Peer | None) -> bytes:
    """Return the header, at most 107 bytes, in ``version`` v1 or v2; return b"" if ``version`` is empty.

    ``source`` is the client and ``destination`` what it connected to, each a numeric address and a port; both are None
    for unix sockets. IPv4 that came through an IPv6 socket is written as IPv4.
    """
    if not version:
        return b""
    if source is None or destination is None:
        return b"PROXY UNKNOWN\r\n" if version == "v1" else _SIGNATURE + struct.pack("!BBH", _LOCAL, 0, 0)
    (source_text, source_port), (destination_text, destination_port) = source, destination
    client, server = _address(source_text), _address(destination_text)
    if version == "v1":
        return f"PROXY TCP{client.version} {client} {server} {source_port} {destination_port}\r\n".encode()
    body = client.packed + server.packed + struct.pack("!HH", source_port, destination_port)
    return _SIGNATURE + struct.pack("!BBH", _PROXY, _TCP[client.version], len(body)) + body


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address
