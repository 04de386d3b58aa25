"""Start and kill containers with published ports over and over: is a port late, is one held, does anything grow?

Usage: python tests/bench/soak.py GUEST [CYCLES]
The guest has to have a container of the image portchain/probe.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any

import docker
from probing import Guest, Use, cleaned, datagram, listeners, refused

from support.host_ports import free_ports

CONTAINERS = 4
WARM_UP = 0.25  # of the cycles; what is taken then is not held against the rest
PORTS = "7000/tcp", "7000/udp"
# By how many descriptors each may differ: the relay has 64 to 128 lent sockets ready, of each of four kinds.
SLACK = {"forwarder": 2, "relay": 4 * 64, "vpnkit-forwarder": 2}


@dataclass
class Report:
    """``late``: cycles whose port refused right after the start; ``held``: ports that listened on after the kill.

    ``left``: what the machine listens on that it did not listen on before, at the ports of the run.
    """

    late: list[int] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    left: set[tuple[str, str]] = field(default_factory=set)
    before: dict[str, Use] = field(default_factory=dict)
    after: dict[str, Use] = field(default_factory=dict)
    seconds: float = 0.0

    def growth(self) -> dict[str, tuple[int, int]]:
        """KiB and descriptors by which each of them grew since the warm-up."""
        return {
            name: (after.memory - self.before[name].memory, after.descriptors - self.before[name].descriptors)
            for name, after in self.after.items()
        }


def churn(engine: docker.DockerClient, guest: Guest, image: str, cycles: int) -> Report:
    """Start and kill ``cycles`` times in all, in turn over a few containers that publish TCP and UDP ports."""
    report, ports, started = Report(), free_ports(CONTAINERS), time.monotonic()
    with cleaned(engine):
        containers = [engine.containers.create(image, ports=dict.fromkeys(PORTS, port)) for port in ports]
        for cycle in range(cycles):
            container, port = containers[cycle % CONTAINERS], ports[cycle % CONTAINERS]
            if cycle == int(cycles * WARM_UP):
                report.before = guest.use()
            container.start()
            if refused(port):
                report.late.append(cycle)
            if cycle % 10 == 0:
                datagram(port, b"hello")
            container.kill()
            wait_until_ended(container)
            if not refused(port):
                report.held.append(cycle)
        report.left = {end for end in listeners() if int(end[1].rpartition(":")[2]) in ports}
        report.after = guest.use()
    report.seconds = time.monotonic() - started
    return report


def wait_until_ended(container: Any) -> None:
    """The engine knows of the end a moment after the kill."""
    container.wait(timeout=10)


def main() -> int:
    """Print what was found; 1 if a port was late, held or left."""
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    guest, cycles = Guest(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) == 3 else 1000
    engine = docker.DockerClient(base_url=f"unix://{guest.run_dir}/docker.sock")
    image = engine.containers.get("probe").image.tags[0]
    report = churn(engine, guest, image, cycles)
    print(f"{cycles} cycles in {report.seconds:.0f} s; late {len(report.late)}, held {len(report.held)}")
    print(f"listeners left: {sorted(report.left) or 'none'}")
    for name, (memory, descriptors) in report.growth().items():
        print(
            f"{name:18} {report.after[name].memory:7} KiB, {memory:+} KiB and {descriptors:+} descriptors since warm-up"
        )
    return int(bool(report.late or report.held or report.left))


if __name__ == "__main__":
    sys.exit(main())
