"""Act on the containers and services of a guest, as the user who runs the dashboard."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from typing import Any

from ..http import asyncio_client
from ..linux import service_manager
from ..linuxkit.paths import NAMESPACE
from .programs import SECONDS, InGuest, Program, ProgramError, engine_error, from_engine, run
from .pseudo_terminal import OnTerminal
from .terminal_screen import Size

TAIL = 500  # lines of a log to begin with
STOP_SECONDS = 60.0
CONTAINER_ACTIONS = ("start", "stop", "restart", "unpause")
_CONTAINER = re.compile(r"[0-9a-f]{12,64}", re.ASCII)
_SERVICE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}", re.ASCII | re.IGNORECASE)
_TASK = f"ctr -n {NAMESPACE} tasks"
_SHELL = "TERM=linux exec sh"  # what pyte is
_GRACE = 50  # fifths of a second for a service to end

_RESTART = f"""
pid=$({_TASK} ls | awk -v name=NAME '$1 == name {{print $2}}')
[ -n "$pid" ] || {{ echo "it does not run"; exit 1; }}
{_TASK} kill -s SIGTERM NAME || exit 1
left={_GRACE}
while kill -0 "$pid" 2>/dev/null; do
    [ "$left" -gt 0 ] || exec {_TASK} kill -s SIGKILL NAME
    left=$((left - 1)); sleep 0.2
done
"""


class Actions:
    """Actions on the containers and services of one guest; all raise ProgramError with a message for the user."""

    def __init__(self, guest: str) -> None:
        self._guest = guest
        self._docker = str(service_manager.RUN / guest / "docker.sock")

    async def container(self, identity: str, action: str) -> None:
        """Start, stop, restart or unpause a container through docker.sock, so that its ports are bound first."""
        if action not in CONTAINER_ACTIONS:
            raise ProgramError(f"host: a container can be told to {', '.join(CONTAINER_ACTIONS)}, not {action!r}")
        await self._engine("POST", f"/containers/{_container(identity)}/{action}", seconds=STOP_SECONDS)

    async def restart_service(self, name: str) -> None:
        """Stop a service; containerd starts it again."""
        status, output = await run(self._guest, _RESTART.replace("NAME", _service(name)), STOP_SECONDS)
        if status:
            raise ProgramError(f"guest {self._guest}: service {name} is not restarted: {output.strip()[:500]}")

    async def container_log(self, identity: str) -> Program:
        """Follow a container's log, beginning with its last lines."""
        inspection = await self._engine("GET", f"/containers/{_container(identity)}/json")
        url = f"/containers/{identity}/logs?stdout=1&stderr=1&follow=1&tail={TAIL}"
        return await from_engine(self._docker, url, tty=_tty(inspection))

    async def service_log(self, name: str) -> Program:
        """Follow a service's log, beginning with its last lines."""
        reader = f"PYTHONPATH=/usr/lib/portchain exec python3 -m portchain.guest.logs.reader --follow --tail={TAIL}"
        return await InGuest.start(self._guest, f"{reader} -- {_service(name)}")

    async def container_shell(self, identity: str, size: Size) -> Program:
        """Open a shell in a container, on a terminal."""
        options: dict[str, object] = {"AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Tty": True}
        options |= {"Cmd": ["sh", "-c", _SHELL]}
        created = await self._engine("POST", f"/containers/{_container(identity)}/exec", options)
        exec_id = str(created.get("Id", "")) if isinstance(created, dict) else ""
        if not _CONTAINER.fullmatch(exec_id):
            raise ProgramError("guest: the engine made no program to run")

        async def kill() -> None:
            status = await self._engine("GET", f"/exec/{exec_id}/json")
            if status.get("Running") and isinstance(pid := status.get("Pid"), int) and pid > 1:
                await run(self._guest, f"kill -KILL -- -{pid}")

        async def resize(size: Size) -> None:
            await self._engine("POST", f"/exec/{exec_id}/resize?h={size.lines}&w={size.columns}")

        program = await from_engine(self._docker, f"/exec/{exec_id}/start", {"Detach": False, "Tty": True}, tty=True)
        program.at_end, program.at_size = kill, resize
        with contextlib.suppress(ProgramError):  # it ended already, and says why
            await resize(size)
        return program

    async def service_shell(self, name: str, size: Size) -> Program:
        """Open a shell in a service, on a terminal."""
        exec_id, service = f"dashboard-{secrets.token_hex(8)}", _service(name)

        async def kill() -> None:
            pid = f"$({_TASK} ps {service} | awk '/{exec_id}/ {{print $1}}')"
            await run(self._guest, f'pid={pid}; [ -z "$pid" ] || kill -KILL -- -$pid')

        shell = f"{_TASK} exec --tty --exec-id {exec_id} {service} sh -c '{_SHELL}'"
        return await OnTerminal.open(self._guest, shell, size, kill)

    async def _engine(self, method: str, url: str, document: object = None, seconds: float = SECONDS) -> Any:
        """Return the engine's answer as JSON, None where it has no content."""
        body = None if document is None else json.dumps(document).encode()
        try:
            response = await asyncio_client.request(self._docker, method, url, body, seconds)
            if response.status >= 400:
                raise ProgramError(engine_error(response.status, response.body))
            return response.parsed() if response.body else None
        except (OSError, ValueError) as error:
            raise ProgramError(f"guest: the engine: {error}") from None


def _container(identity: str) -> str:
    if not _CONTAINER.fullmatch(identity):
        raise ProgramError("host: this is no container's id")
    return identity


def _service(name: str) -> str:
    if not _SERVICE.fullmatch(name):
        raise ProgramError("host: this is no service's name")
    return name


def _tty(inspected: Any) -> bool:
    config = inspected.get("Config") if isinstance(inspected, dict) else None
    return isinstance(config, dict) and config.get("Tty") is True
