"""What the host and the guest have at the path of a bind mount: the host's files, and the docker service's view."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from ...http import asyncio_client
from ...linux.blocking_calls import BlockingCalls
from ...linuxkit.paths import ENGINE_SOCKETS, SSH_AGENT
from ..guest_spec import SHARES_FILE, SSH_AGENT_FILE
from ..share_state import ShareState
from ..shares import Share, Shares
from ..ssh_agent import SshAgent
from . import binds
from .views import Document

T = TypeVar("T")

_SHARE_DEADLINE = 3.0  # seconds for the supervisor to notice that a share is another folder now
_POLL_SECONDS = 0.05
_ANSWER_DEADLINE = 10.0
_CHECK_DEADLINE = 60.0  # seconds for all bind mounts of a container


class BindChecker:
    """Checks bind mounts of one guest's containers.

    ``run_dir`` holds the guest's sockets, ``state_dir`` its settings; ``lifecycle_socket`` is that of lifecycle-server.
    """

    def __init__(
        self, run_dir: Path, state_dir: Path, lifecycle_socket: str, calls: BlockingCalls | None = None
    ) -> None:
        self._run_dir = run_dir
        self._state_dir = state_dir
        self._lifecycle_socket = lifecycle_socket
        self._calls = calls or BlockingCalls()

    async def check_binds(self, create: Document) -> None:
        """Check and rewrite the bind mounts in a create request's body.

        Raise NotSharedError for a folder that is not shared, OSError if that cannot be determined in time.
        """
        try:
            async with asyncio.timeout(_CHECK_DEADLINE):
                shares, sockets = await self._calls.run(self._settings, f"host: {self._state_dir}")
                await binds.check(create, shares, self, sockets)
        except TimeoutError as error:
            raise TimeoutError(str(error) or f"host: bind mounts took more than {_CHECK_DEADLINE:g} s") from None

    def _settings(self) -> tuple[Shares, dict[str, str]]:
        return self._loaded(SHARES_FILE, Shares.load) or Shares(), self._sockets()

    def _sockets(self) -> dict[str, str]:
        """Return the guest's counterparts of the host's sockets, by their real paths on the host."""
        sockets = {real: real for real in (str(self._run_dir.resolve() / name) for name in ENGINE_SOCKETS)}
        agent = self._loaded(SSH_AGENT_FILE, SshAgent.load) or SshAgent()
        if agent.path:
            sockets[os.path.realpath(agent.path)] = SSH_AGENT
        return {SSH_AGENT: SSH_AGENT if agent.path else "", **sockets}

    def _loaded(self, name: str, load: Callable[[str], T]) -> T | None:
        try:
            return load((self._state_dir / name).read_text())
        except FileNotFoundError:
            return None

    async def real_paths(self, paths: Sequence[str]) -> Sequence[str]:
        """Return ``paths`` on the host with all links followed."""
        given_up = False

        def follow() -> Sequence[str]:
            return [os.path.realpath(path) for path in paths if not given_up]

        try:
            return await self._calls.run(follow, f"host: the file system of one of {len(paths)} bind mounts")
        finally:
            given_up = True

    async def in_guest(self, path: str) -> bool:
        """Return whether the docker service has ``path``."""
        return bool((await self._guest_status(path))["exists"])

    async def why_not_same(self, path: str, share: Share, owner: int) -> str:
        """Return why ``path`` in ``share`` differs between guest and host, after a while; empty if it does not.

        For a path that does not exist, the nearest existing folder above it is compared.
        """
        deadline = time.monotonic() + _SHARE_DEADLINE
        while True:
            expected = await self._calls.run(
                lambda: _nearest_status(share, path, owner), f"host: the file system of {share.path}"
            )
            if expected is None:
                return f"host: there is no folder {share.path}, which guest_shares names"
            nearest, wanted = expected
            status = await self._guest_status(nearest)
            # The engine cannot read either what the service cannot: it reports that itself.
            unreadable = status["exists"] and status["inode"] is None
            if unreadable or wanted.items() <= status.items():
                return ""
            if time.monotonic() > deadline:
                return ShareState.load(self._run_dir).failed.get(share.path) or (
                    f"host: {nearest} is another folder there; add what is mounted in {share.path} to guest_shares"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def _guest_status(self, path: str) -> dict[str, Any]:
        """Ask lifecycle-server what the docker service has at ``path``. Raise OSError."""
        status = await asyncio_client.get_json(self._lifecycle_socket, f"/paths?path={quote(path)}", _ANSWER_DEADLINE)
        if not isinstance(status, dict) or not {"exists", "inode"} <= status.keys():
            raise OSError(f"guest: lifecycle-server's answer about {path} was not understood")
        return status


def _path_and_parents(share: Share, path: str) -> list[Path]:
    """Return a path in a share and the folders above it in that share, the innermost first."""
    return [folder for folder in (Path(path), *Path(path).parents) if folder.is_relative_to(share.path)]


def _nearest_status(share: Share, path: str, owner: int) -> tuple[str, dict[str, object]] | None:
    """Return the nearest existing folder of a path in a share, and what the docker service should have there."""
    nearest = next((folder for folder in _path_and_parents(share, path) if folder.exists()), None)
    return (str(nearest), _expected_status(nearest, share, owner)) if nearest else None


def _expected_status(path: Path, share: Share, owner: int) -> dict[str, object]:
    """Return what the docker service should have at a path of the host."""
    status, flags = path.stat(), os.statvfs(path).f_flag
    expected: dict[str, object] = {
        "device": status.st_dev,
        "inode": status.st_ino,
        "read_only": share.read_only or bool(flags & os.ST_RDONLY),
    }
    return expected | ({"uid": share.user} if status.st_uid == owner else {})
