"""The forwarder on the host, one daemon per guest: it puts the parts together and runs them."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal

from ..net.listening import close_listener, open_unix_listener
from . import host_services
from .daemon_options import DaemonOptions
from .docker_api.docker_socket import EngineService
from .forwarder import saved_forwards
from .forwarder.api import ControlApi
from .forwarder.control import ControlAnswer, ControlServer
from .forwarder.relay_link import RelayLink
from .forwarder.service_sockets import ServiceSockets
from .forwarder.table import ForwardTable

RETRY_SECONDS = 1.0
ANSWER_SECONDS = 30.0

log = logging.getLogger(__name__)


class StartError(Exception):
    """The daemon cannot start; the message says why."""


class ForwarderDaemon:
    """The table of forwards, the connection to the relay, the control interface and docker.sock of one guest.

    Everything runs in the event loop's thread, except `respond`.
    """

    def __init__(self, options: DaemonOptions) -> None:
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._link = RelayLink(host_services.relay_socket(options.run_dir))
        self._table = self._link.table = ForwardTable(options.owner, self._link.changed)
        self._sockets = ServiceSockets(options.sockets_file, options.run_dir, self._table)
        self._sockets.follow()
        for origin, forwards in saved_forwards.load(options.state_file).items():
            self._table.add(forwards, origin)
        self._api = ControlApi(options.control, self._table, self._link)
        self._control_socket = open_unix_listener(options.run_dir / "control.sock", options.owner)
        self._control = ControlServer(self._control_socket, self.respond)
        self._loop.add_reader(self._control, self._control.handle_request)
        self._docker_sockets = [
            open_unix_listener(options.run_dir / "docker.sock", options.owner),
            open_unix_listener(options.run_dir / host_services.FOLDER / "docker.sock", options.guest_uid),
        ]
        self._engine = EngineService(options.engine, self._table, *self._docker_sockets)

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
                self._sockets.follow()
                self._table.retry()
        self._loop.remove_reader(self._control)
        await self._engine.close()
        for listener in (self._control_socket, *self._docker_sockets):
            close_listener(listener)
        self._table.close()
        self._link.close()

    def respond(self, method: str, path: str, body: bytes) -> ControlAnswer:
        """Answer one request to the control interface, from any thread."""

        async def answer() -> ControlAnswer:
            result = self._api.answer(method, path, body)
            await self._table.released()
            return result

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(ANSWER_SECONDS)


def prepare(options: DaemonOptions) -> int:
    """Make the directories and lock the guest's; return the lock's descriptor. Raise StartError."""
    try:
        host_services.make(options.run_dir, options.guest_uid)
        options.state_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(options.state_dir, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StartError(
            f"host: another forwarder of guest {options.guest} is running on {options.state_dir}: stop it first"
        ) from None
    except OSError as error:
        raise StartError(f"host: cannot prepare {options.run_dir} and {options.state_dir}: {error}") from error
    return lock


async def serve(options: DaemonOptions) -> None:
    """Run the daemon until it is told to stop; raise StartError or BindError if it cannot start."""
    lock = prepare(options)
    try:
        await ForwarderDaemon(options).run()
    finally:
        os.close(lock)
