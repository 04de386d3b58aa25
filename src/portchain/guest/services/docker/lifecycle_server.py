"""lifecycle-server: run the engine, containerd first and dockerd on it, and end when either ends by itself.

Answers on its socket, over HTTP:
GET /ping                                          OK
GET /listeners                                     the guest's listening sockets
GET /host-network/listeners                        those of containers in host network mode: `HostNetworkListeners`
GET /paths?path=                                   which file the service, and so dockerd, has there: `describe_path`
GET /engine                                        {state: running | stopped}
POST /engine/{start,stop,restart}                  the same, when it is done
GET /engine/config                                 {own, effective, refused}: the user's part, all, why own is not used
PUT /engine/config                                 the user's part of daemon.json: tried, and kept if dockerd takes it

It also serves /var/run/docker.sock in the service, forwarded to the host's daemon, so that containers that mount it
see the host's ports. That socket lives as long as the containers do, while the host's own is replaced whenever the
host's daemon starts. Links to it are at the paths of the host's sockets, for clients that mount the path in
DOCKER_HOST.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ....http.server import HttpService, RequestError, ServiceRequest, ServiceResponse
from ....linuxkit.paths import ENGINE_SOCKETS
from ....net.accepting import Acceptor
from ....net.loop import Loop
from ....net.socket_diagnostics import list_listeners
from ....protocol.handoff import Listen
from ...host_network_listeners import HostNetworkListeners
from ...service_socket import listen
from .engine_config import ConfigError, ConfigFiles, merge, parse_own
from .engine_processes import DOCKERD, EngineEndedError, EngineProcesses
from .share_binds import ShareBinds

_SOCKET = Path("/run/guest-services/lifecycle-server.sock")
_DOCKER_SOCKET = Path(ENGINE_SOCKETS["docker.sock"])
_RUN = Path("/run/portchain")
_HOSTS_DOCKER_SOCKET = "unix:/run/host-services/docker.sock"
_OPTIONS = Path("/etc/portchain/guest.json")
_VALIDATE_SECONDS = 20
_MAX_CONFIG = 1 << 20  # bytes


class Lifecycle:
    """The engine and its configuration."""

    def __init__(self, engine: EngineProcesses, files: ConfigFiles) -> None:
        self.engine = engine
        self._files = files
        self._refused = ""

    def boot(self) -> None:
        """Start the engine; without the user's part if that stops it from starting, as after an upgrade."""
        base = self._files.read_base()
        try:
            self._files.install(merge(base, self._files.read_own()))
            self.engine.start()
        except (ConfigError, EngineEndedError) as error:
            print(f"lifecycle-server: trying the guest's own configuration alone: {error}", flush=True)
            self._refused = str(error)
            self._files.install(base)
            self.engine.start()

    def run_actions(self, *actions: Callable[[], None]) -> dict[str, Any]:
        """Start or stop the engine, return its state; if it does not start, end the service, which is restarted."""
        with self.engine.lock:
            try:
                for action in actions:
                    action()
            except (EngineEndedError, TimeoutError) as error:
                self.engine.ended.put(1)
                raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, f"guest: {error}") from None
            return self.state()

    def state(self) -> dict[str, Any]:
        """Return whether the engine is meant to run."""
        return {"state": "running" if self.engine.running else "stopped"}

    def config(self) -> dict[str, Any]:
        """Return the user's part, the whole configuration, and why the user's part is not used."""
        return {
            "own": self._files.read_own(),
            "effective": self._files.read_effective(),
            "refused": self._refused,
        }

    def configure(self, text: bytes) -> dict[str, Any]:
        """Run dockerd with a new user's part; if it refuses that, go on as before and raise RequestError."""
        with self.engine.lock:
            try:
                own = parse_own(text)
                effective, before = merge(self._files.read_base(), own), self._files.read_effective()
                if effective != before:
                    self._try(effective, before)
            except (ConfigError, EngineEndedError) as error:
                message = f"guest: dockerd goes on with what it had: {error}"
                raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, message) from None
            self._files.save(own)
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
                self.run_actions(self.engine.start)
            raise ConfigError(str(error)) from None
        if not running:
            self.engine.stop()


def validate() -> None:
    """Have dockerd check its configuration file, if it can (from 23.0 on); raise ConfigError."""
    done = subprocess.run(
        [DOCKERD, "--validate"], capture_output=True, text=True, timeout=_VALIDATE_SECONDS, check=False
    )
    if done.returncode and "unknown flag" not in done.stderr:
        raise ConfigError(done.stderr.strip())


class LifecycleApi:
    """Routes the requests to the service's socket."""

    def __init__(self, host_network: HostNetworkListeners, lifecycle: Lifecycle) -> None:
        engine = lifecycle.engine
        self._routes: dict[tuple[str, str], Callable[[ServiceRequest], object]] = {
            ("GET", "/ping"): lambda _: "OK",
            ("GET", "/listeners"): lambda _: [asdict(endpoint) for endpoint in list_listeners().values()],
            ("GET", "/host-network/listeners"): lambda _: host_network.rows(),
            ("GET", "/paths"): lambda request: describe_path(Path(request.query.get("path", ""))),
            ("GET", "/engine"): lambda _: lifecycle.state(),
            ("POST", "/engine/start"): lambda _: lifecycle.run_actions(engine.start),
            ("POST", "/engine/stop"): lambda _: lifecycle.run_actions(engine.stop),
            ("POST", "/engine/restart"): lambda _: lifecycle.run_actions(engine.stop, engine.start),
            ("GET", "/engine/config"): lambda _: lifecycle.config(),
            ("PUT", "/engine/config"): lambda request: lifecycle.configure(read_body(request)),
        }

    def answer(self, request: ServiceRequest) -> ServiceResponse:
        """Answer one request; may be called from any thread."""
        route = self._routes.get((request.method, request.path))
        if route is None:
            message = f"lifecycle-server: no {request.method} {request.path}"
            raise RequestError(HTTPStatus.NOT_FOUND, message)
        try:
            payload = route(request)
        except (OSError, ConfigError) as error:
            raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, f"guest: {error}") from None
        if isinstance(payload, str):
            return ServiceResponse(iter([payload.encode()]), kind="text/plain", length=len(payload))
        return ServiceResponse(payload)


def describe_path(path: Path) -> dict[str, Any]:
    """Describe the file at ``path`` as the service has it; the details are None if it may not be read."""
    description = {"exists": True, "device": None, "inode": None, "uid": None, "read_only": None}
    try:
        status, flags = path.stat(), os.statvfs(path).f_flag
    except PermissionError:
        return description
    except OSError:
        return description | {"exists": False}
    return description | {
        "device": status.st_dev,
        "inode": status.st_ino,
        "uid": status.st_uid,
        "read_only": bool(flags & os.ST_RDONLY),
    }


def read_body(request: ServiceRequest) -> bytes:
    """Return a request's body; raise RequestError if it is too long for a configuration."""
    body = bytearray()
    for block in request.body:
        body += block
        if len(body) > _MAX_CONFIG:
            raise RequestError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"guest: daemon.json has at most {_MAX_CONFIG} bytes"
            )
    return bytes(body)


def forward_docker_socket(guest: str) -> None:
    """Forward the service's docker.sock to the host in the background; link the host's paths of ``guest`` to it."""
    loop = Loop()
    listener = listen(_DOCKER_SOCKET)
    Acceptor(loop, lambda: None).listen(Listen(_DOCKER_SOCKET.name, _HOSTS_DOCKER_SOCKET), listener.detach())
    threading.Thread(target=loop.run, daemon=True).start()
    folder = _RUN / guest
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in ENGINE_SOCKETS.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(path)


def main() -> int:
    """Run the engine until it ends by itself or a signal ends it; return its exit status."""
    options = json.loads(_OPTIONS.read_text())
    engine = EngineProcesses(options["gateway"])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: engine.ended.put(0))
    lifecycle = Lifecycle(engine, ConfigFiles())
    service = HttpService(listen(_SOCKET), LifecycleApi(HostNetworkListeners(), lifecycle).answer)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    forward_docker_socket(options["name"])
    ShareBinds().follow()
    lifecycle.boot()
    status = engine.ended.get()
    engine.stop()
    return status


if __name__ == "__main__":
    sys.exit(main())
