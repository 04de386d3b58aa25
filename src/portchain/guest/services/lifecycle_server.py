"""lifecycle-server: run the engine, containerd first and dockerd on it, and end when either ends.

Answers on its socket, over HTTP: GET /ping, and GET /host-network/listeners with the rows of `HostNetwork`.

It also holds /var/run/docker.sock in the service, which leads to the host's daemon, so that containers that mount it
see the host's ports. It lives as long as they do; the host's own socket is another whenever that daemon starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from ...channel.handoff import Listen
from ...forwarder.acceptor import Acceptor
from ...forwarder.control import Answer, ControlServer
from ...forwarder.loop import Loop
from . import leftovers
from .host_network import HostNetwork, listeners
from .unix_socket import listen

CONTAINERD_SOCKET = Path("/var/run/desktop-containerd/containerd.sock")
_SOCKET = Path("/run/guest-services/lifecycle-server.sock")
_DOCKER_SOCKET = Path("/var/run/docker.sock")
_HOSTS_DOCKER_SOCKET = "unix:/run/host-services/docker.sock"
_OPTIONS = Path("/etc/portchain/guest.json")
_DEADLINE = 30.0


def containerd_command() -> list[str]:
    """The engine's own containerd; the guest's, which runs the services, is another."""
    return [
        *("/usr/bin/containerd", "--address", str(CONTAINERD_SOCKET), "--log-level", "warn"),
        *(
            "--root",
            "/var/lib/docker/desktop-containerd/daemon",
            "--state",
            "/var/run/desktop-containerd/daemon",
        ),
        *("--config", "/etc/desktop-containerd.toml"),
    ]


def dockerd_command(gateway: str) -> list[str]:
    """dockerd with Docker Desktop's own flags; the rest is in daemon.json."""
    return [
        *(
            "/usr/local/bin/dockerd",
            "--containerd",
            str(CONTAINERD_SOCKET),
            "--pidfile",
            "/run/desktop/docker.pid",
        ),
        *("--swarm-default-advertise-addr=eth0", "--host-gateway-ip", gateway),
    ]


class Api:
    """What the socket answers."""

    def __init__(self, host_network: HostNetwork) -> None:
        self._routes: dict[tuple[str, str], Callable[[bytes], object]] = {
            ("GET", "/ping"): lambda _: "OK",
            ("GET", "/listeners"): lambda _: [one._asdict() for one in listeners()],
            ("GET", "/host-network/listeners"): lambda _: host_network.rows(),
        }

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Answer one request; called from any thread."""
        route = self._routes.get((method, path))
        if route is None:
            return HTTPStatus.NOT_FOUND, {"message": f"lifecycle-server: no {method} {path}"}
        try:
            return HTTPStatus.OK, route(body)
        except OSError as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, {"message": str(error)}


def serve(api: Api) -> None:
    """Answer on the socket from now on, in the background."""
    server = ControlServer(listen(_SOCKET), api.answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def lead_to_host() -> None:
    """Hold the service's docker.sock from now on, in the background."""
    loop = Loop()
    listener = listen(_DOCKER_SOCKET)
    Acceptor(loop, lambda: None).listen(Listen(_DOCKER_SOCKET.name, _HOSTS_DOCKER_SOCKET), listener.detach())
    threading.Thread(target=loop.run, daemon=True).start()


def start(name: str, command: list[str]) -> subprocess.Popen[bytes]:
    """Run ``command`` with its output in the log ``name``."""
    return subprocess.Popen(["/usr/bin/logwrite", "-n", name, *command])


def wait_for_socket(path: Path, process: subprocess.Popen[bytes], deadline: float = _DEADLINE) -> None:
    """Wait until ``path`` is there; raise when ``process`` ends first or after ``deadline`` seconds."""
    end = time.monotonic() + deadline
    while not path.exists():
        if process.poll() is not None:
            raise RuntimeError(f"guest: containerd of the engine ended with status {process.returncode}; see its log")
        if time.monotonic() > end:
            raise TimeoutError(f"guest: no {path} after {deadline} s")
        time.sleep(0.01)


def supervise(dockerd: subprocess.Popen[bytes], containerd: subprocess.Popen[bytes]) -> int:
    """Wait until one of them ends, then end the other; returns the exit status of the first.

    Without containerd there is nothing that dockerd could put in order, though it would wait to.
    """
    ended, status = os.wait()
    if ended == containerd.pid:
        dockerd.kill()
    else:
        containerd.terminate()
    for process in (dockerd, containerd):
        if process.pid != ended:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_DEADLINE)
    return os.waitstatus_to_exitcode(status)


def main() -> int:
    """Run the engine."""
    serve(Api(HostNetwork()))
    lead_to_host()
    gateway = json.loads(_OPTIONS.read_text())["gateway"]
    for stale in (CONTAINERD_SOCKET, Path("/run/desktop/docker.pid")):
        stale.unlink(missing_ok=True)
    if count := leftovers.end():
        print(f"lifecycle-server: killed {count} processes of an earlier engine's containers", flush=True)
    containerd = start("containerd", containerd_command())
    wait_for_socket(CONTAINERD_SOCKET, containerd)
    dockerd = start("dockerd", dockerd_command(gateway))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: dockerd.terminate())
    return supervise(dockerd, containerd)


if __name__ == "__main__":
    sys.exit(main())
