"""Many ports: what time and memory they take, and whether each one takes as much as the one before.

Usage: python tests/bench/many_ports.py GUEST
First containers with more and more published ports, beside the same at the engine's own socket; then forwards as of
more and more containers of six ports each, as many as the seed's, and ten thousand. The guest has to have a container
of the image portchain/probe.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import docker
from probing import Guest, cleaned, refused

from support.waiting import eventually

FIRST = 20000
PUBLISHED = (250, 500, 1000)
PER_CONTAINER = 6
CONTAINERS = (100, 200, 500)
FORWARDS = (*(count * PER_CONTAINER for count in CONTAINERS), 10000)
TIMEOUT = 600


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    started = time.monotonic()
    found = action()
    return time.monotonic() - started, found


def publish(engine: docker.DockerClient, image: str, count: int) -> dict[str, float]:
    """Seconds of each step in the life of a container with so many published ports."""
    ports = {f"{7000 + index}/tcp": FIRST + index for index in range(count)}
    with cleaned(engine):
        create, container = timed(lambda: engine.containers.create(image, ports=ports))
        start, _ = timed(container.start)
        inspect, _ = timed(container.reload)
        ps, _ = timed(engine.containers.list)
        remove, _ = timed(lambda: container.remove(force=True))
    return {"create": create, "start": start, "inspect": inspect, "list": ps, "remove": remove}


def publishing(guest: Guest) -> None:
    """Print a line for each number of ports and socket."""
    for count in PUBLISHED:
        for name in ("engine", "docker"):
            engine = docker.DockerClient(base_url=f"unix://{guest.run_dir}/{name}.sock", timeout=TIMEOUT)
            steps = publish(engine, engine.containers.get("probe").image.tags[0], count)
            shown = "  ".join(f"{step} {seconds:6.2f} s" for step, seconds in steps.items())
            print(f"{count:5} published ports, {name + '.sock':12} {shown}")


def declare(guest: Guest, count: int, others: list[dict[str, Any]]) -> None:
    """Have ``count`` forwards beside the others, all listening, in the guest too."""
    mine = [{"listen": f"127.0.0.1:{FIRST + index}", "target": "127.0.0.1:7"} for index in range(count)]
    status, said = guest.control("PUT", "/forwards", others + mine)
    assert status == 200, said

    def all_there() -> bool:
        return sum(row["state"] == "listening" for row in guest.forwards("declared")) == count + len(others)

    eventually(all_there, f"{count} listening forwards", 60)


def forwarding(guest: Guest) -> None:
    """Print a line for each number of forwards, with what each took more than none."""
    others = [{key: row[key] for key in ("listen", "target")} for row in guest.forwards("declared")]
    none = guest.use()
    try:
        for count in FORWARDS:
            seconds, _ = timed(lambda count=count: declare(guest, count, others))
            taken = guest.use()
            shown = "  ".join(
                f"{name} {use.memory:6} KiB ({(use.memory - none[name].memory) / count:5.2f} each)"
                for name, use in taken.items()
            )
            print(f"{count:5} forwards  {seconds:6.2f} s ({seconds / count * 1e3:.2f} ms each)  {shown}")
            assert not refused(FIRST + count - 1)
            declare(guest, 0, others)
    finally:
        declare(guest, 0, others)
    eventually(lambda: refused(FIRST), "no listener left")


def main() -> int:
    """Print both tables."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    guest = Guest(sys.argv[1])
    publishing(guest)
    forwarding(guest)
    return 0


if __name__ == "__main__":
    sys.exit(main())
