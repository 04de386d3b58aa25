"""The forwarder on the host: one daemon for each guest."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path

from ..mapping.forward import Endpoint, Forward
from . import state
from .control import Answer, ControlServer
from .guest_link import GuestLink
from .listener import BindError, close_listener, open_unix_listener
from .plan import read_forwards
from .table import Table

SOCKETS = ("docker", "debug-shell", "ssh")
RETRY_SECONDS = 1.0
ANSWER_SECONDS = 30.0

log = logging.getLogger(__name__)


class StartError(Exception):
    """The daemon cannot start; the text says why."""


@dataclass(frozen=True)
class Options:
    """Where the daemon of ``guest`` lives and whom its sockets belong to (uids)."""

    guest: str
    run_dir: Path
    state_dir: Path
    owner: int
    guest_uid: int

    @property
    def sockets(self) -> list[Forward]:
        """The guest's sockets that every guest offers on the host."""
        return [
            Forward(
                Endpoint("unix", str(self.run_dir / f"{name}.sock")),
                Endpoint("unix", f"/run/guest-services/{name}.sock"),
            )
            for name in SOCKETS
        ]


class Daemon:
    """Everything here runs in the event loop's thread, `respond` apart."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._started = time.time()
        self._state_file = options.state_dir / "forwards.json"
        self._loop = asyncio.get_running_loop()
        self._link = GuestLink(options.run_dir / "host-services" / "forwarder.sock", options.guest_uid)
        self._table = self._link.table = Table(options.owner, self._link.changed)
        self._table.add(options.sockets, "system")
        self._table.add(state.load(self._state_file), "declared")
        self._control_socket = open_unix_listener(options.run_dir / "control.sock", options.owner)
        self._control = ControlServer(self._control_socket, self.respond)
        self._loop.add_reader(self._control, self._control.handle_request)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then remove the sockets."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, stop.set)
        log.info("serving guest %s in %s", self._options.guest, self._options.run_dir)
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), RETRY_SECONDS)
            except TimeoutError:
                self._table.retry()
        self._loop.remove_reader(self._control)
        close_listener(self._control_socket)
        self._table.close()
        self._link.close()

    def respond(self, method: str, path: str, body: bytes) -> Answer:
        """Answer one request; called from any thread."""
        routes: dict[tuple[str, str], Callable[[bytes], Answer]] = {
            ("GET", "/status"): self._status,
            ("GET", "/forwards"): self._forwards,
            ("PUT", "/forwards"): self._replace,
        }
        route = routes.get((method, path))
        if route is None:
            known = any(path == p for _, p in routes)
            status = HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_FOUND
            return status, {"message": f"{method} {path}: there is {', '.join(' '.join(r) for r in routes)}"}

        async def answer() -> Answer:
            return route(body)

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(ANSWER_SECONDS)

    def _status(self, _body: bytes) -> Answer:
        return HTTPStatus.OK, {
            "guest": self._options.guest,
            "pid": os.getpid(),
            "started": self._started,
            "connected": self._link.guest is not None,
            "channel": asdict(self._link.guest) if self._link.guest else None,
        }

    def _forwards(self, _body: bytes) -> Answer:
        return HTTPStatus.OK, [entry.as_dict() for entry in self._table.entries.values()]

    def _replace(self, body: bytes) -> Answer:
        try:
            wanted = read_forwards(json.loads(body))
        except (ValueError, RecursionError) as error:
            return HTTPStatus.BAD_REQUEST, {"message": str(error)}
        try:
            self._table.replace(wanted, "declared", lambda: state.save(self._state_file, wanted))
        except BindError as error:
            return HTTPStatus.CONFLICT, {"message": str(error)}
        except OSError as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, {"message": f"host: keeping {self._state_file}: {error}"}
        log.info("declared forwards: %s", ", ".join(f"{f.listen} -> {f.target}" for f in wanted) or "none")
        return self._forwards(b"")


def prepare(options: Options) -> int:
    """Make the directories and take the guest's lock, the descriptor returned; raise StartError."""
    try:
        for directory in (options.run_dir / "host-services", options.state_dir):
            directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(options.state_dir, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StartError(
            f"host: another forwarder of guest {options.guest} is running on {options.state_dir}: stop it first"
        ) from None
    except OSError as error:
        raise StartError(f"host: cannot prepare {options.run_dir} and {options.state_dir}: {error}") from error
    return lock


async def serve(options: Options) -> None:
    """Run the daemon; raise StartError or BindError when it cannot start."""
    lock = prepare(options)
    try:
        await Daemon(options).run()
    finally:
        os.close(lock)
