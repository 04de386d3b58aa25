"""The forwarder on the host: one daemon for each guest."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal

from ..engine.service import EngineService
from . import state
from .api import Api
from .control import Answer, ControlServer
from .guest_link import GuestLink
from .listener import close_listener, open_unix_listener
from .options import Options
from .table import Table

RETRY_SECONDS = 1.0
ANSWER_SECONDS = 30.0

log = logging.getLogger(__name__)


class StartError(Exception):
    """The daemon cannot start; the text says why."""


class Daemon:
    """Everything here runs in the event loop's thread, `respond` apart."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._link = GuestLink(options.run_dir / "host-services" / "forwarder.sock", options.guest_uid)
        self._table = self._link.table = Table(options.owner, self._link.changed)
        self._table.add(options.sockets, "system")
        for origin, forwards in state.load(options.state_file).items():
            self._table.add(forwards, origin)
        self._api = Api(options, self._table, self._link)
        self._control_socket = open_unix_listener(options.run_dir / "control.sock", options.owner)
        self._control = ControlServer(self._control_socket, self.respond)
        self._loop.add_reader(self._control, self._control.handle_request)
        self._docker_sockets = [
            open_unix_listener(options.run_dir / "docker.sock", options.owner),
            open_unix_listener(options.run_dir / "host-services" / "docker.sock", options.guest_uid),
        ]
        self._engine = EngineService(options.engine, self._table, self._docker_sockets)

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
        await self._engine.close()
        for listener in (self._control_socket, *self._docker_sockets):
            close_listener(listener)
        self._table.close()
        self._link.close()

    def respond(self, method: str, path: str, body: bytes) -> Answer:
        """Answer one request; called from any thread."""

        async def answer() -> Answer:
            return self._api.answer(method, path, body)

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(ANSWER_SECONDS)


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
