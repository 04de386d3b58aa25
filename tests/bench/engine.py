"""docker save and docker load of one image: through docker.sock, through engine.sock, and at the guest's own socket.

Usage: python tests/bench/engine.py GUEST [ROUNDS]
One program moves the bytes each way, in turn; for the guest's own socket it runs in the guest. What is loaded is there
already, so that the engine reads all of it and stores nothing.
"""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import docker
from probing import as_root

OWN = "/run/guest-services/docker.sock"
DEADLINE = 600
# Takes a socket, an image and a number of rounds; prints seconds of save and load of each, and the size. The bodies
# are chunked, as Docker's own client has them.
PROGRAM = """
import json, socket, sys, time
path, image, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
END = b"Host: docker\\r\\nConnection: close\\r\\n"

def ask(request, body=None, keep=None):
    sock, buffer, size = socket.socket(socket.AF_UNIX), bytearray(1 << 20), 0
    sock.connect(path)
    sock.sendall(request.encode() + END + b"\\r\\n")
    if body is not None:
        for at in range(0, len(body), 32768):
            part = body[at : at + 32768]
            sock.sendall(b"%x\\r\\n%b\\r\\n" % (len(part), part))
        sock.sendall(b"0\\r\\n\\r\\n")
    while count := sock.recv_into(buffer):
        size += count
        if keep is not None:
            keep += buffer[:count]
    return size

def save(keep=None):
    return ask(f"GET /images/{image}/get HTTP/1.1\\r\\n", keep=keep)

def unchunked(answer):
    at, found = answer.index(b"\\r\\n\\r\\n") + 4, bytearray()
    while size := int(answer[at : (end := answer.index(b"\\r\\n", at))], 16):
        found += answer[end + 2 : end + 2 + size]
        at = end + 2 + size + 2
    return bytes(found)

answer = bytearray()
save(answer)
archive, found = unchunked(answer), []
del answer
for _ in range(rounds):
    started = time.monotonic()
    save()
    saved = time.monotonic()
    ask("POST /images/load?quiet=1 HTTP/1.1\\r\\nTransfer-Encoding: chunked\\r\\n", archive)
    found.append((saved - started, time.monotonic() - saved))
print(json.dumps({"size": len(archive), "rounds": found}))
"""


def measure(guest: str, way: str, image: str) -> tuple[float, float, int]:
    """Seconds of one save and one load, and the bytes moved."""
    if way == "own":
        script = shlex.join(["python3", "-c", PROGRAM, OWN, image, "1"])
        command = [str(Path(sys.executable).with_name("portchain")), "shell", "--guest", guest, "--", script]
    else:
        command = [sys.executable, "-c", PROGRAM, f"/run/portchain/{guest}/{way}.sock", image, "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=True)
    found = json.loads(done.stdout)
    save, load = found["rounds"][0]
    return save, load, found["size"]


def main() -> int:
    """Print the medians and their ratio to the guest's own socket."""
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    guest, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else 5
    as_root("true")
    engine = docker.DockerClient(base_url=f"unix:///run/portchain/{guest}/docker.sock")
    image = engine.containers.get("probe").image.tags[0]
    ways = ("own", "engine", "docker")
    found: dict[str, list[tuple[float, float, int]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            found[way].append(measure(guest, way, image))
    size = found["own"][0][2] / 1e6
    for index, name in enumerate(("save", "load")):
        seconds = {way: statistics.median(one[index] for one in found[way]) for way in ways}
        for way in ways:
            rate, ratio = size / seconds[way], seconds["own"] / seconds[way]
            print(f"{name} {size:.0f} MB  {way + '.sock':12} {rate:6.0f} MB/s  {ratio:.2f} of the guest's own")
    return 0


if __name__ == "__main__":
    sys.exit(main())
