"""What the guest tells of each hop: run for each connection to evidence.sock.

A JSON request a line, a JSON answer a line: ``{"do": "look"}``, ``{"do": "inside", "containers": [ID, …]}``,
``{"do": "ping"}``, and ``{"do": "watch", …}`` and ``{"do": "caught"}`` as `capture` has them. An answer to what is no
request, or cannot be done, has ``error``. The connection ends with the client, or when that says nothing for long.

Usage: python3 -m portchain.guest.services.evidence < REQUESTS > ANSWERS
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
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")

Told = dict[str, Any]


class Evidence:
    """Answers the requests of one client."""

    def __init__(self) -> None:
        self._capture = Capture()
        self._requests: dict[str, Callable[[Told], Told]] = {
            "ping": lambda _request: {},
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
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            return {"error": f"guest: not a request: {error!r}"[:300]}
        except OSError as error:
            return {"error": f"guest: {error}"[:300]}

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
        wanted = [str(one) for one in request["containers"]]
        if len(wanted) > _MOST_CONTAINERS:
            problems.append(f"guest: {_MOST_CONTAINERS} of {len(wanted)} containers are looked into, no more at once")
            del wanted[_MOST_CONTAINERS:]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = dict(zip(wanted, pool.map(lambda one: _container(one, problems), wanted), strict=True))
        _add_holders([one["space"] for one in found.values() if one.get("space")])
        return {"containers": found, "problems": problems}


def _of_engine(url: str, problems: list[str]) -> Any:
    try:
        return ask("GET", url, seconds=spaces.SECONDS)
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
        if not _NAME.fullmatch(name):
            raise OSError("no name that a container can have")
        found["inspect"] = ask("GET", f"/containers/{name}/json", seconds=spaces.SECONDS)
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
    """Answer until the client goes, or says nothing for long, or does not read."""
    evidence = Evidence()
    source, target = sys.stdin.fileno(), sys.stdout.fileno()
    waiting = b""
    while len(waiting) <= MAX_REQUEST and select.select([source], [], [], IDLE_SECONDS)[0]:
        data = os.read(source, MAX_REQUEST)
        if not data:
            break
        *lines, waiting = (waiting + data).split(b"\n")
        for line in lines:
            answer = json.dumps(evidence.answer(line), separators=(",", ":")).encode() + b"\n"
            if not _written(target, memoryview(answer)):
                return 0
    return 0


def _written(target: int, data: memoryview) -> bool:
    """Whether all of it could be written: not where the client is gone, or does not read for long."""
    os.set_blocking(target, False)
    try:
        while data:
            if not select.select([], [target], [], IDLE_SECONDS)[1]:
                return False
            data = data[os.write(target, data) :]
    except (BrokenPipeError, ConnectionResetError):
        return False
    finally:
        os.set_blocking(target, True)
    return True


if __name__ == "__main__":
    sys.exit(main())
