"""lifecycle-server: run the engine, containerd first and dockerd on it, and end when either ends by itself.

Answers on its socket, over HTTP:
GET /ping, /listeners, /host-network/listeners     OK; what is listened on; the rows of `HostNetwork`
GET /paths?path=                                   {exists: whether the service, and so dockerd, has it}
GET /engine                                        {state: running | stopped}
POST /engine/{start,stop,restart}                  the same, when it is done
GET /engine/config                                 {own, effective, refused}: the user's part, all, why own is not used
PUT /engine/config                                 the user's part of daemon.json: tried, and kept if dockerd takes it

It also holds /var/run/docker.sock in the service, which leads to the host's daemon, so that containers that mount it
see the host's ports. It lives as long as they do; the host's own socket is another whenever that daemon starts.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ...channel.handoff import Listen
from ...forwarder.acceptor import Acceptor
from ...forwarder.loop import Loop
from .engine_config import ConfigError, ConfigFiles, merged, parse
from .engine_processes import DOCKERD, Engine, EngineEndedError
from .host_network import HostNetwork, listeners
from .http_service import HttpService, Request, RequestError, Response
from .share_binds import ShareBinds
from .unix_socket import listen

_SOCKET = Path("/run/guest-services/lifecycle-server.sock")
_DOCKER_SOCKET = Path("/var/run/docker.sock")
_HOSTS_DOCKER_SOCKET = "unix:/run/host-services/docker.sock"
_OPTIONS = Path("/etc/portchain/guest.json")
_VALIDATE_SECONDS = 20
_MAX_CONFIG = 1 << 20  # bytes


class Lifecycle:
    """The engine with its configuration."""

    def __init__(self, engine: Engine, files: ConfigFiles) -> None:
        self.engine = engine
        self._files = files
        self._refused = ""

    def boot(self) -> None:
        """Start the engine; without the user's part where it would not start with it, as after an upgrade."""
        base = self._files.read_base()
        try:
            self._files.install(merged(base, self._files.read_own()))
            self.engine.start()
        except (ConfigError, EngineEndedError) as error:
            print(f"lifecycle-server: trying the guest's own configuration alone: {error}", flush=True)
            self._refused = str(error)
            self._files.install(base)
            self.engine.start()

    def do(self, *actions: Callable[[], None]) -> dict[str, Any]:
        """Start or stop the engine; when it does not come up the service ends, and begins anew."""
        with self.engine.lock:
            try:
                for action in actions:
                    action()
            except (EngineEndedError, TimeoutError) as error:
                self.engine.ended.put(1)
                raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, f"guest: {error}") from None
            return self.state()

    def state(self) -> dict[str, Any]:
        """Whether the engine is meant to run."""
        return {"state": "running" if self.engine.running else "stopped"}

    def config(self) -> dict[str, Any]:
        """The user's part, all of it, and why the user's part is not used."""
        return {
            "own": self._files.read_own(),
            "effective": self._files.read_effective(),
            "refused": self._refused,
        }

    def configure(self, text: bytes) -> dict[str, Any]:
        """Have dockerd run with another part of the user's, or as before and raise RequestError."""
        with self.engine.lock:
            try:
                own = parse(text)
                effective, before = merged(self._files.read_base(), own), self._files.read_effective()
                if effective != before:
                    self._try(effective, before)
            except (ConfigError, EngineEndedError) as error:
                message = f"guest: dockerd goes on with what it had: {error}"
                raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, message) from None
            self._files.keep(own)
            self._refused = ""
            return self.config()

    def _try(self, effective: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        running = self.engine.running
        self._files.install(effective)
        try:
            validate()
            self.engine.stop()
            self.engine.start()
        except (ConfigError, EngineEndedError, TimeoutError) as error:
            self._files.install(before)
            if running:
                self.do(self.engine.start)
            raise ConfigError(str(error)) from None
        if not running:
            self.engine.stop()


def validate() -> None:
    """Have dockerd look at its file, where it can (from 23.0 on); raise ConfigError."""
    done = subprocess.run(
        [DOCKERD, "--validate"], capture_output=True, text=True, timeout=_VALIDATE_SECONDS, check=False
    )
    if done.returncode and "unknown flag" not in done.stderr:
        raise ConfigError(done.stderr.strip())


class Api:
    """What the socket answers."""

    def __init__(self, host_network: HostNetwork, lifecycle: Lifecycle) -> None:
        engine = lifecycle.engine
        self._routes: dict[tuple[str, str], Callable[[Request], object]] = {
            ("GET", "/ping"): lambda _: "OK",
            ("GET", "/listeners"): lambda _: [one._asdict() for one in listeners()],
            ("GET", "/host-network/listeners"): lambda _: host_network.rows(),
            ("GET", "/paths"): lambda request: {"exists": Path(request.query.get("path", "")).exists()},
            ("GET", "/engine"): lambda _: lifecycle.state(),
            ("POST", "/engine/start"): lambda _: lifecycle.do(engine.start),
            ("POST", "/engine/stop"): lambda _: lifecycle.do(engine.stop),
            ("POST", "/engine/restart"): lambda _: lifecycle.do(engine.stop, engine.start),
            ("GET", "/engine/config"): lambda _: lifecycle.config(),
            ("PUT", "/engine/config"): lambda request: lifecycle.configure(whole(request)),
        }

    def answer(self, request: Request) -> Response:
        """Answer one request; called from any thread."""
        route = self._routes.get((request.method, request.path))
        if route is None:
            message = f"lifecycle-server: no {request.method} {request.path}"
            raise RequestError(HTTPStatus.NOT_FOUND, message)
        try:
            payload = route(request)
        except (OSError, ConfigError) as error:
            raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from None
        if isinstance(payload, str):
            return Response(iter([payload.encode()]), kind="text/plain", length=len(payload))
        return Response(payload)


def whole(request: Request) -> bytes:
    """A request's body; raise RequestError where it is too long for a configuration."""
    body = bytearray()
    for piece in request.body:
        body += piece
        if len(body) > _MAX_CONFIG:
            raise RequestError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"guest: daemon.json has at most {_MAX_CONFIG} bytes"
            )
    return bytes(body)


def lead_to_host() -> None:
    """Hold the service's docker.sock from now on, in the background."""
    loop = Loop()
    listener = listen(_DOCKER_SOCKET)
    Acceptor(loop, lambda: None).listen(Listen(_DOCKER_SOCKET.name, _HOSTS_DOCKER_SOCKET), listener.detach())
    threading.Thread(target=loop.run, daemon=True).start()


def main() -> int:
    """Run the engine until it ends or is to end."""
    engine = Engine(json.loads(_OPTIONS.read_text())["gateway"])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: engine.ended.put(0))
    lifecycle = Lifecycle(engine, ConfigFiles())
    service = HttpService(listen(_SOCKET), Api(HostNetwork(), lifecycle).answer)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    lead_to_host()
    ShareBinds().follow()
    lifecycle.boot()
    status = engine.ended.get()
    engine.stop()
    return status


if __name__ == "__main__":
    sys.exit(main())
