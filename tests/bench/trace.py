"""How long a trace takes where many ports are published: whole processes, medians of several runs.

Usage: python tests/bench/trace.py GUEST
The guest has to have a container of the image portchain/probe; the others are made here, and removed.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time

import docker
from probing import Guest, answered, cleaned

from support.host_ports import free_ports

CONTAINERS = 10
PORTS = 50
RUNS = 9
WAYS = {
    "trace": ("trace", "{port}"),
    "trace --probe": ("trace", "--probe", "{port}"),
    "trace of all": ("trace", "--json"),
    "report": ("report", "--output", "{page}"),
    "ps": ("ps", "--json"),
}


def timed(guest: str, words: tuple[str, ...], **named: object) -> float:
    """Seconds that a command takes from its start to its end."""
    command = ["portchain", *(word.format(**named) for word in words), "--guest", guest]
    began = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=False)
    return time.monotonic() - began


def main(name: str) -> None:
    """Print a line for each command."""
    engine = docker.DockerClient(base_url=f"unix://{Guest(name).run_dir}/docker.sock", timeout=120)
    image = engine.containers.get("probe").image.tags[0]
    with cleaned(engine), tempfile.TemporaryDirectory() as folder:
        for _ in range(CONTAINERS):
            ports = free_ports(PORTS)
            places = {f"{7000 + index}/tcp": port for index, port in enumerate(ports)}
            engine.containers.run(image, ports=places, detach=True, stop_signal="SIGKILL")
        answered(ports[0])
        print(f"{CONTAINERS * PORTS} published ports, {CONTAINERS} containers, medians of {RUNS}")
        for title, words in WAYS.items():
            took = [timed(name, words, port=ports[0], page=f"{folder}/page.html") for _ in range(RUNS)]
            print(f"{title:14} {statistics.median(took):5.2f} s ({min(took):.2f} to {max(took):.2f})")


if __name__ == "__main__":
    main(sys.argv[1])
