"""The engine's two processes: containerd and dockerd, each with its output written by logwrite."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from queue import SimpleQueue

from ....http.blocking_client import request
from . import leftovers
from .logwrite import FOLDER

CONTAINERD_SOCKET = Path("/var/run/desktop-containerd/containerd.sock")
ENGINE_SOCKET = Path("/run/guest-services/docker.sock")
DOCKERD = "/usr/local/bin/dockerd"
_PIDFILE = Path("/run/desktop/docker.pid")
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_LOG_TAIL = 4096
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\S+ ")  # logwrite's
# Why a daemon ends; others of its threads may go on to complain after that.
_FATAL = re.compile(r"failed to start|unable to configure|level=fatal|^panic:")
# After this, from version 25 on, dockerd waits 5 s for clients that go on, such as those that follow its events.
_SHUT_DOWN = "Daemon shutdown complete"


class EngineEndedError(Exception):
    """A process of the engine ended instead of starting; the message ends with the last line it printed."""


def containerd_command() -> list[str]:
    """Return the command of the engine's own containerd; another one runs the guest's services."""
    return [
        *("/usr/bin/containerd", "--address", str(CONTAINERD_SOCKET), "--log-level", "warn"),
        *("--root", "/var/lib/docker/desktop-containerd/daemon"),
        *("--state", "/var/run/desktop-containerd/daemon", "--config", "/etc/desktop-containerd.toml"),
    ]


def dockerd_command(gateway: str) -> list[str]:
    """Return dockerd's command with Docker Desktop's own flags; the rest is in daemon.json."""
    return [
        *(DOCKERD, "--containerd", str(CONTAINERD_SOCKET), "--pidfile", str(_PIDFILE)),
        *("--swarm-default-advertise-addr=eth0", "--host-gateway-ip", gateway),
    ]


class EngineProcesses:
    """Starts and stops containerd and dockerd. If one ends by itself, its exit status is put in ``ended``."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.ended: SimpleQueue[int] = SimpleQueue()
        self.lock = threading.RLock()  # held while the engine is started, stopped or configured

    @property
    def running(self) -> bool:
        """Whether the engine was started and has not been stopped."""
        return bool(self._running)

    def start(self) -> None:
        """Start the engine if it is not running, and wait until it answers.

        Raise EngineEndedError or TimeoutError; both processes are ended then.
        """
        with self.lock:
            if self._running:
                return
            for stale in (CONTAINERD_SOCKET, _PIDFILE, ENGINE_SOCKET):
                stale.unlink(missing_ok=True)
            if count := leftovers.kill_all():
                print(f"lifecycle-server: killed {count} processes of an earlier engine's containers", flush=True)
            started: dict[str, subprocess.Popen[bytes]] = {}
            try:
                for name, command, sock in (
                    ("containerd", containerd_command(), CONTAINERD_SOCKET),
                    ("dockerd", dockerd_command(self._gateway), ENGINE_SOCKET),
                ):
                    started[name] = subprocess.Popen(["/usr/bin/logwrite", "-n", name, *command])
                    _wait_for_answer(name, started[name], sock)
            except BaseException:
                _end(started)
                raise
            self._running = started
        for process in started.values():
            threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    def stop(self) -> None:
        """Stop dockerd, which stops its containers, then containerd."""
        with self.lock:
            stopping, self._running = self._running, {}
            _end(stopping)

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        if process in self._running.values():
            self.ended.put(status)


def _wait_for_answer(name: str, process: subprocess.Popen[bytes], path: Path) -> None:
    """Wait until ``process`` answers at its socket; raise EngineEndedError, TimeoutError."""
    end = time.monotonic() + _START_SECONDS
    log = FOLDER / f"{name}.log"
    log_size = _size(log)
    while not _answers(path):
        if process.poll() is not None:
            raise EngineEndedError(f"{name} ended with status {process.returncode}: {read_reason(log, log_size)}")
        if time.monotonic() > end:
            raise TimeoutError(f"guest: {name} did not answer on {path} within {_START_SECONDS} s; see {log}")
        time.sleep(0.01)


def _answers(path: Path) -> bool:
    """Return whether the server is ready: dockerd listens early, but answers only once it is."""
    with contextlib.suppress(OSError):
        if path == CONTAINERD_SOCKET:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(_START_SECONDS)
                client.connect(str(path))
            return True
        return request(str(path), "GET", "/_ping", _START_SECONDS)[0] == HTTPStatus.OK
    return False


def read_reason(log: Path, before: int) -> str:
    """Return why a daemon ended: a fatal line added to ``log`` since it was ``before`` bytes long, or else the last."""
    lines = [_STAMP.sub("", line) for line in _read_added(log, before).splitlines() if line.strip()]
    fatal = [line for line in lines if _FATAL.search(line)]
    return (fatal or lines or [""])[-1]


def has_shut_down(log: Path, before: int) -> bool:
    """Return whether dockerd has logged a complete shutdown after the first ``before`` bytes of its ``log``."""
    return _SHUT_DOWN in _read_added(log, before)


def _read_added(log: Path, before: int) -> str:
    """Return what follows the first ``before`` bytes of ``log``, at most its last 4 KiB; empty if there is no log."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(before if before <= size else 0, size - _LOG_TAIL))
        return file.read().decode(errors="replace")
    return ""


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _end(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    """End dockerd, then containerd. If containerd has ended, dockerd is killed, for it would wait in vain."""
    containerd, dockerd = processes.get("containerd"), processes.get("dockerd")
    if dockerd and containerd and containerd.poll() is not None:
        dockerd.kill()
    log = FOLDER / "dockerd.log"
    before = _size(log)
    if dockerd:
        _terminate(dockerd, lambda: has_shut_down(log, before))
    if containerd:
        _terminate(containerd, lambda: False)


def _terminate(process: subprocess.Popen[bytes], is_done: Callable[[], bool]) -> None:
    """Have a process end; kill it once it ``is_done``, or if it takes too long."""
    process.terminate()
    end = time.monotonic() + _STOP_SECONDS
    while process.poll() is None:
        if is_done() or time.monotonic() > end:
            process.kill()
            process.wait()
        time.sleep(0.01)
