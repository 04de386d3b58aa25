"""What the guest tells of each hop: run for each connection to evidence.sock.

A JSON request a line, a JSON answer a line: ``{"do": "look"}``, ``{"do": "inside", "containers": [ID, …]}``,
``{"do": "watch", …}`` and ``{"do": "caught"}`` as `capture` has them.

Usage: python3 -m portchain.guest.services.evidence < REQUESTS > ANSWERS
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from .. import health
from ..places import NAMESPACE
from . import spaces
from .capture import Capture
from .engine_api import ask
from .http_service import RequestError

IDLE_SECONDS = 120.0
MAX_REQUEST = 1 << 16  # bytes
_MOST_CONTAINERS = 200
_AT_ONCE = 4

Told = dict[str, Any]


class Evidence:
    """Answers the requests of one client."""

    def __init__(self) -> None:
        self._capture = Capture()
        self._requests: dict[str, Callable[[Told], Told]] = {
            "look": self._look,
            "inside": self._inside,
            "watch": self._capture.watch,
            "caught": self._capture.caught,
        }

    def answer(self, line: bytes) -> Told:
        """The answer to one line; ``error`` says what is wrong with it."""
        try:
            request = json.loads(line)
            return self._requests[request["do"]](request)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            return {"error": f"guest: not a request: {error!r}"[:300]}
        except (OSError, RequestError) as error:
            return {"error": f"guest: {error}"}

    def _look(self, _request: Told) -> Told:
        problems: list[str] = []
        told: Told = {"time": time.time(), "problems": problems}
        with ThreadPoolExecutor(3) as pool:
            containers = pool.submit(_of_engine, "/containers/json?all=1", problems)
            networks = pool.submit(_of_engine, "/networks", problems)
            services = pool.submit(_services, problems)
            told["space"] = spaces.own(problems)
            told["containers"], told["networks"] = containers.result(), networks.result()
            told["services"] = services.result()
        told["conntrack"] = spaces.conntrack()
        _add_holders([told["space"]])
        return told

    def _inside(self, request: Told) -> Told:
        problems: list[str] = []
        wanted = [str(one) for one in request["containers"]][:_MOST_CONTAINERS]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = dict(zip(wanted, pool.map(lambda one: _container(one, problems), wanted), strict=True))
        _add_holders([one["space"] for one in found.values() if one.get("space")])
        return {"containers": found, "problems": problems}


def _of_engine(url: str, problems: list[str]) -> Any:
    try:
        return ask("GET", url)
    except RequestError as error:
        problems.append(str(error))
        return []


def _services(problems: list[str]) -> list[Told]:
    command = ("ctr", "-n", NAMESPACE, "task", "ls")
    try:
        tasks = subprocess.run(command, capture_output=True, text=True, check=True, timeout=spaces.SECONDS)
        return [asdict(one) for one in health.look(health.running(tasks.stdout))]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        problems.append(f"guest: its services: {error}")
        return []


def _container(name: str, problems: list[str]) -> Told:
    """``inspect`` as the engine has it, and ``space``, its network namespace where it runs in one of its own."""
    found: Told = {}
    try:
        found["inspect"] = ask("GET", f"/containers/{name}/json")
        pid = int(found["inspect"]["State"]["Pid"])
        if pid and found["inspect"]["HostConfig"]["NetworkMode"] != "host":
            found["space"] = spaces.of_process(pid, problems)
    except (OSError, RequestError) as error:
        problems.append(f"guest: container {name[:12]}: {error}")
    return found


def _add_holders(looked_at: list[Told]) -> None:
    sockets = [one for space in looked_at for one in space.get("listeners", ())]
    found = spaces.holders(one["inode"] for one in sockets)
    for one in sockets:
        one["processes"] = found.get(one["inode"], [])


def main() -> int:
    """Answer until the client goes, or says nothing for long."""
    evidence = Evidence()
    source, target = sys.stdin.fileno(), sys.stdout.buffer
    waiting = b""
    while select.select([source], [], [], IDLE_SECONDS)[0]:
        data = os.read(source, MAX_REQUEST)
        if not data or len(waiting) > MAX_REQUEST:
            break
        *lines, waiting = (waiting + data).split(b"\n")
        for line in lines:
            target.write(json.dumps(evidence.answer(line), separators=(",", ":")).encode() + b"\n")
            target.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
