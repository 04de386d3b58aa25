"""What test_host_access.py runs in the guest and in containers: a function's name and arguments in, JSON out."""

import json
import socket
import struct
import sys
import time
from pathlib import Path


def addresses(name, family):
    try:
        return sorted({entry[4][0] for entry in socket.getaddrinfo(name, 80, family, socket.SOCK_STREAM)})
    except socket.gaierror:
        return []


def over_tcp(name):
    """The address in the answer of the name server of resolv.conf; empty where there is none."""
    server = next(
        line.split()[1] for line in Path("/etc/resolv.conf").read_text().splitlines() if line.startswith("nameserver")
    )
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = struct.pack("!6H", 1, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)
    with socket.create_connection((server, 53), 5) as client, client.makefile("rwb") as stream:
        stream.write(struct.pack("!H", len(question)) + question)
        stream.flush()
        answer = stream.read(struct.unpack("!H", stream.read(2))[0])
    return socket.inet_ntoa(answer[-4:]) if struct.unpack("!H", answer[6:8])[0] else ""


def resolve(name):
    began = time.monotonic()
    found = {"v4": addresses(name, socket.AF_INET), "v6": addresses(name, socket.AF_INET6), "over_tcp": over_tcp(name)}
    return {**found, "seconds": time.monotonic() - began}


def talk(name, port, size):
    """Send ``size`` bytes, end, and read until the other side ends: half-close each way."""
    try:
        with socket.create_connection((name, port), 5) as client, client.makefile("rb") as stream:
            greeting = stream.readline().decode().strip()
            client.sendall(b"x" * size)
            client.shutdown(socket.SHUT_WR)
            return {"greeting": greeting, "echoed": len(stream.read())}
    except OSError as error:
        return {"error": type(error).__name__}


def exchange(name, port, size):
    """Send a datagram of ``size`` bytes, and see that the answer comes from where it was sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect((name, port))
        client.send(b"x" * size)
        try:
            return {"echoed": len(client.recv(65536))}
        except OSError as error:
            return {"error": type(error).__name__}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*json.loads(sys.argv[2]))))
