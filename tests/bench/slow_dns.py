"""A name server on port 53 that takes its time: every name but short ones has an address of each family.

Usage: python slow_dns.py ADDRESS SECONDS
"""

from __future__ import annotations

import socket
import socketserver
import struct
import sys
import threading
import time

FOUND = "203.0.113.5"
_ADDRESSES = {1: socket.inet_aton(FOUND), 28: socket.inet_pton(socket.AF_INET6, "2001:db8::5")}
_BACKLOG = 512


def answer(query: bytes) -> bytes:
    """After a while, what `query` is answered."""
    time.sleep(float(sys.argv[2]))
    end = query.index(0, 12) + 5
    if query[12] + 18 == end:  # one label
        return query[:2] + b"\x81\x83" + struct.pack("!4H", 1, 0, 0, 0) + query[12:end]
    (kind,) = struct.unpack_from("!H", query, end - 4)
    address = _ADDRESSES.get(kind, b"")
    record = struct.pack("!3HIH", 0xC00C, kind, 1, 0, len(address)) + address if address else b""
    return query[:2] + b"\x81\x80" + struct.pack("!4H", 1, bool(address), 0, 0) + query[12:end] + record


class Datagram(socketserver.BaseRequestHandler):
    """A question over UDP."""

    def handle(self) -> None:
        query, sock = self.request
        sock.sendto(answer(query), self.client_address)


class Stream(socketserver.StreamRequestHandler):
    """Questions over TCP."""

    def handle(self) -> None:
        while size := self.rfile.read(2):
            found = answer(self.rfile.read(int.from_bytes(size, "big")))
            self.wfile.write(len(found).to_bytes(2, "big") + found)


class StreamServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = _BACKLOG


def main() -> None:
    place = sys.argv[1], 53
    streams = StreamServer(place, Stream)
    threading.Thread(target=streams.serve_forever, daemon=True).start()
    with socketserver.ThreadingUDPServer(place, Datagram) as datagrams:
        datagrams.serve_forever()


if __name__ == "__main__":
    main()
