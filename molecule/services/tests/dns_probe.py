"""Runs in the guest and in containers: what the name server of resolv.conf answers, as JSON.

Arguments: KIND TRANSPORT NAME…, such as 1 udp quay.io. For each the answer's status, addresses, texts and reason.
"""

import json
import socket
import struct
import sys
from pathlib import Path


def exchange(server, query, transport):
    if transport == "udp":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.sendto(query, (server, 53))
            return client.recv(4096)
    with socket.create_connection((server, 53), 5) as client, client.makefile("rwb") as stream:
        stream.write(struct.pack("!H", len(query)) + query)
        stream.flush()
        return stream.read(struct.unpack("!H", stream.read(2))[0])


def skip_name(answer, at):
    while answer[at]:
        if answer[at] >= 0xC0:
            return at + 2
        at += 1 + answer[at]
    return at + 1


def records(answer):
    at = skip_name(answer, 12) + 4
    for _ in range(sum(struct.unpack_from("!3H", answer, 6))):
        at = skip_name(answer, at)
        kind, _, _, length = struct.unpack_from("!HHIH", answer, at)
        yield kind, answer[at + 10 : at + 10 + length]
        at += 10 + length


def look_up(kind, transport, name):
    lines = Path("/etc/resolv.conf").read_text().splitlines()
    server = next(line.split()[1] for line in lines if line.startswith("nameserver"))
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    extension = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)
    question = struct.pack("!6H", 1, 0x100, 1, 0, 0, 1) + labels + b"\0" + struct.pack("!2H", int(kind), 1)
    answer = exchange(server, question + extension, transport)
    found = list(records(answer))
    return {
        "status": answer[3] & 15,
        "addresses": [socket.inet_ntoa(data) for kind, data in found if kind == 1],
        "records": struct.unpack_from("!H", answer, 6)[0],
        "texts": [data[1:].decode() for kind, data in found if kind == 16],
        # One option in the record of the extensions: code, length, then the kind of error and its text.
        "reason": next((data[6:].decode() for kind, data in found if kind == 41 and len(data) > 6), ""),
    }


def main(kind, transport, *names):
    print(json.dumps([look_up(kind, transport, name) for name in names]))


main(*sys.argv[1:])
