"""Collect the guest's evidence about each hop; diagnosticsd runs this for each connection to evidence.sock.

Each line is a JSON request, answered by a line of JSON. The requests are ``{"do": "look"}``, ``{"do": "ping"}``,
``{"do": "inside", "containers": [ID, …]}``, and ``{"do": "watch", …}`` and ``{"do": "caught"}``, for which see
`Capture.start` and `Capture.finish`. The answer has ``error`` if the request is not valid, or fails. The connection
ends with the client, or after `IDLE_SECONDS` without a request.

Usage: python3 -m portchain.guest.services.diagnose.evidence < REQUESTS > ANSWERS
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from ....http.server import RequestError
from ....linuxkit.paths import NAMESPACE
from ... import health
from ...engine_api import ask
from . import network_spaces
from .capture import Capture

IDLE_SECONDS = 120.0
MAX_REQUEST = 1 << 16  # bytes
_MAX_CONTAINERS = 200
_WORKERS = 4
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")

Json = dict[str, Any]


class Evidence:
    """Answers the requests of one client."""

    def __init__(self) -> None:
        self._capture = Capture()
        self._requests: dict[str, Callable[[Json], Json]] = {
            "ping": lambda _request: {},
            "look": self._collect_guest,
            "inside": self._collect_containers,
            "watch": self._capture.start,
            "caught": self._capture.finish,
        }

    def answer(self, line: bytes) -> Json:
        """Return the answer to one line; its ``error``, if any, says what is wrong with the request."""
        try:
            request = json.loads(line)
            return self._requests[request["do"]](request)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            return {"error": f"guest: not a request: {error!r}"[:300]}
        except OSError as error:
            return {"error": f"guest: {error}"[:300]}

    def _collect_guest(self, _request: Json) -> Json:
        problems: list[str] = []
        evidence: Json = {"time": time.time(), "problems": problems}
        with ThreadPoolExecutor(3) as pool:
            containers = pool.submit(_ask_engine, "/containers/json?all=1", problems)
            networks = pool.submit(_ask_engine, "/networks", problems)
            services = pool.submit(_services, problems)
            evidence["space"] = network_spaces.own(problems)
            evidence["containers"], evidence["networks"] = containers.result(), networks.result()
            evidence["services"] = services.result()
        evidence["conntrack"] = network_spaces.conntrack()
        _add_holders([evidence["space"]])
        return evidence

    def _collect_containers(self, request: Json) -> Json:
        problems: list[str] = []
        names = [str(name) for name in request["containers"]]
        if len(names) > _MAX_CONTAINERS:
            problems.append(f"guest: {_MAX_CONTAINERS} of {len(names)} containers are examined, no more at once")
            del names[_MAX_CONTAINERS:]
        with ThreadPoolExecutor(_WORKERS) as pool:
            containers = dict(zip(names, pool.map(lambda name: _container(name, problems), names), strict=True))
        _add_holders([container["space"] for container in containers.values() if container.get("space")])
        return {"containers": containers, "problems": problems}


def _ask_engine(url: str, problems: list[str]) -> Any:
    try:
        return ask("GET", url, seconds=network_spaces.SECONDS)
    except RequestError as error:
        problems.append(str(error))
        return []


def _services(problems: list[str]) -> list[Json]:
    command = ("ctr", "-n", NAMESPACE, "task", "ls")
    try:
        tasks = subprocess.run(command, capture_output=True, text=True, check=True, timeout=network_spaces.SECONDS)
        return [asdict(service) for service in health.collect(health.parse_tasks(tasks.stdout))]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        problems.append(f"guest: the services cannot be listed: {error}")
        return []


def _container(name: str, problems: list[str]) -> Json:
    """Return ``inspect``, the engine's answer, and ``space`` if it runs in a network namespace of its own."""
    container: Json = {}
    try:
        if not _NAME.fullmatch(name):
            raise OSError("a container cannot have this name")
        container["inspect"] = ask("GET", f"/containers/{name}/json", seconds=network_spaces.SECONDS)
        pid = int(container["inspect"]["State"]["Pid"])
        if pid and container["inspect"]["HostConfig"]["NetworkMode"] != "host":
            container["space"] = network_spaces.of_process(pid, problems)
    except (OSError, RequestError) as error:
        problems.append(f"guest: container {name[:12]}: {error}")
    return container


def _add_holders(spaces: list[Json]) -> None:
    listeners = [listener for space in spaces for listener in space.get("listeners", ())]
    processes = network_spaces.holders(listener["inode"] for listener in listeners)
    for listener in listeners:
        listener["processes"] = processes.get(listener["inode"], [])


def main() -> int:
    """Answer requests until the client goes, sends nothing for long, or does not read."""
    evidence = Evidence()
    source, target = sys.stdin.fileno(), sys.stdout.fileno()
    received = b""
    while len(received) <= MAX_REQUEST and select.select([source], [], [], IDLE_SECONDS)[0]:
        data = os.read(source, MAX_REQUEST)
        if not data:
            break
        *lines, received = (received + data).split(b"\n")
        for line in lines:
            answer = json.dumps(evidence.answer(line), separators=(",", ":")).encode() + b"\n"
            if not write_all(target, memoryview(answer)):
                return 0
    return 0


def write_all(target: int, data: memoryview, idle_seconds: float = IDLE_SECONDS) -> bool:
    """Write all of ``data``; return False if the client is gone, or reads nothing for ``idle_seconds``."""
    os.set_blocking(target, False)
    try:
        while data:
            if not select.select([], [target], [], idle_seconds)[1]:
                return False
            data = data[os.write(target, data) :]
    except (BrokenPipeError, ConnectionResetError):
        return False
    finally:
        os.set_blocking(target, True)
    return True


if __name__ == "__main__":
    sys.exit(main())
