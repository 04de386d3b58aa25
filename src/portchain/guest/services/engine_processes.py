"""The engine's two processes: containerd, and dockerd on it, each under logwrite."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import threading
import time
from pathlib import Path
from queue import SimpleQueue

from . import leftovers
from .logwrite import FOLDER

CONTAINERD_SOCKET = Path("/var/run/desktop-containerd/containerd.sock")
ENGINE_SOCKET = Path("/run/guest-services/docker.sock")
DOCKERD = "/usr/local/bin/dockerd"
_PIDFILE = Path("/run/desktop/docker.pid")
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_LOG_END = 4096
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\S+ ")  # logwrite's


class EngineEndedError(Exception):
    """A process of the engine ended while it was to start; the message ends with what it said last."""


def containerd_command() -> list[str]:
    """The engine's own containerd; the guest's, which runs the services, is another."""
    return [
        *("/usr/bin/containerd", "--address", str(CONTAINERD_SOCKET), "--log-level", "warn"),
        *("--root", "/var/lib/docker/desktop-containerd/daemon"),
        *("--state", "/var/run/desktop-containerd/daemon", "--config", "/etc/desktop-containerd.toml"),
    ]


def dockerd_command(gateway: str) -> list[str]:
    """dockerd with Docker Desktop's own flags; the rest is in daemon.json."""
    return [
        *(DOCKERD, "--containerd", str(CONTAINERD_SOCKET), "--pidfile", str(_PIDFILE)),
        *("--swarm-default-advertise-addr=eth0", "--host-gateway-ip", gateway),
    ]


class Engine:
    """Starts and stops the two. What ends by itself is put in ``ended``: its exit status."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.ended: SimpleQueue[int] = SimpleQueue()
        self.lock = threading.RLock()  # one thing at a time is done to it

    @property
    def running(self) -> bool:
        """Whether it was started and has not been stopped."""
        return bool(self._running)

    def start(self) -> None:
        """Have it running and answering; raise EngineEndedError, TimeoutError: there is nothing of it then."""
        with self.lock:
            if self._running:
                return
            for stale in (CONTAINERD_SOCKET, _PIDFILE, ENGINE_SOCKET):
                stale.unlink(missing_ok=True)
            if count := leftovers.end():
                print(f"lifecycle-server: killed {count} processes of an earlier engine's containers", flush=True)
            started: dict[str, subprocess.Popen[bytes]] = {}
            try:
                for name, command, sock in (
                    ("containerd", containerd_command(), CONTAINERD_SOCKET),
                    ("dockerd", dockerd_command(self._gateway), ENGINE_SOCKET),
                ):
                    started[name] = subprocess.Popen(["/usr/bin/logwrite", "-n", name, *command])
                    _wait(name, started[name], sock)
            except BaseException:
                _end(started)
                raise
            self._running = started
        for process in started.values():
            threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    def stop(self) -> None:
        """End it in good order, its containers first."""
        with self.lock:
            stopping, self._running = self._running, {}
            _end(stopping)

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        if process in self._running.values():
            self.ended.put(status)


def _wait(name: str, process: subprocess.Popen[bytes], path: Path) -> None:
    """Wait until ``process`` answers at its socket."""
    end = time.monotonic() + _START_SECONDS
    log = FOLDER / f"{name}.log"
    before = log.stat().st_size if log.exists() else 0
    while not _answers(path):
        if process.poll() is not None:
            raise EngineEndedError(f"{name} ended with status {process.returncode}: {_last_words(log, before)}")
        if time.monotonic() > end:
            raise TimeoutError(f"guest: {name} did not answer on {path} within {_START_SECONDS} s; see {log}")
        time.sleep(0.01)


def _answers(path: Path) -> bool:
    """Whether there is a server: dockerd listens early, but answers when it is ready."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_START_SECONDS)
        client.connect(str(path))
        if path == CONTAINERD_SOCKET:
            return True
        client.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
        return b" 200 " in client.recv(1024)
    return False


def _last_words(log: Path, before: int) -> str:
    """The last line that was added to ``log`` since it was ``before`` bytes long."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(before if before <= size else 0, size - _LOG_END))
        lines = file.read().decode(errors="replace").splitlines()
        return next((_STAMP.sub("", line) for line in reversed(lines) if line.strip()), "")
    return ""


def _end(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    """End dockerd, then containerd. Without containerd dockerd would wait for what it cannot put in order."""
    containerd, dockerd = processes.get("containerd"), processes.get("dockerd")
    if dockerd and containerd and containerd.poll() is not None:
        dockerd.kill()
    for process in (dockerd, containerd):
        if process:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
