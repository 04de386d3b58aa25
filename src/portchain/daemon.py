"""Host daemons, each kept by a systemd unit where systemd is PID 1, by runit's runsv otherwise.

A daemon that exits with status 0 has finished and stays down; any other ending restarts it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

RUN = Path("/run/portchain")
STATE = Path("/var/lib/portchain")
LOGS = Path("/var/log/portchain")
_UNITS = Path("/etc/systemd/system")
_STOP_DEADLINE = 40


class DaemonError(Exception):
    """A daemon could not be brought into the wanted state; the message says which and where its log is."""


@dataclass(frozen=True)
class Daemon:
    """The daemon ``name`` of one guest: what to run, and the ``version`` of what it runs (any text)."""

    name: str
    guest: str
    argv: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    version: str = ""

    @property
    def unit(self) -> str:
        """The name of the systemd unit."""
        return f"portchain-{self.guest}-{self.name}.service"

    @property
    def folder(self) -> Path:
        """The runit service directory."""
        return RUN / self.guest / "sv" / self.name

    @property
    def logs(self) -> Path:
        """The folder of the log that svlogd keeps."""
        return LOGS / self.guest / self.name

    @property
    def log_hint(self) -> str:
        """Where a person reads the daemon's log."""
        return f"journalctl -u {self.unit}" if under_systemd() else str(self.logs / "current")


def under_systemd() -> bool:
    """Whether systemd is PID 1."""
    return Path("/run/systemd/system").is_dir()


def unit_text(daemon: Daemon) -> str:
    """The systemd unit."""
    environment = "".join(f"Environment={_unit_word(f'{k}={v}')}\n" for k, v in sorted(daemon.environment.items()))
    command = " ".join(_unit_word(word).replace("$", "$$") for word in daemon.argv)
    return (
        f"[Unit]\nDescription=portchain: {daemon.name} of guest {daemon.guest}\nStartLimitIntervalSec=0\n\n"
        f"[Service]\n{environment}ExecStart={command}\n"
        f"Restart=on-failure\nRestartSec=1\nTimeoutStopSec={_STOP_DEADLINE}\nKillMode=mixed\nDelegate=yes\n"
        f"# version {daemon.version}\n\n[Install]\nWantedBy=multi-user.target\n"
    )


def _unit_word(text: str) -> str:
    """One word in a unit file, quoted, as systemd.syntax(7) and the specifiers of systemd.unit(5) want it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def runit_files(daemon: Daemon) -> dict[str, str]:
    """The scripts of the runit service directory."""
    exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in sorted(daemon.environment.items()))
    return {
        "run": f"#!/bin/sh\n# version {daemon.version}\n{exports}exec 2>&1\nexec {shlex.join(daemon.argv)}\n",
        "finish": '#!/bin/sh\n[ "$1" -ne 0 ] || exec sv down .\n',
        "log/run": f"#!/bin/sh\nexec svlogd -tt {shlex.quote(str(daemon.logs))}\n",
    }


def _definition(daemon: Daemon) -> dict[Path, str]:
    if under_systemd():
        return {_UNITS / daemon.unit: unit_text(daemon)}
    return {daemon.folder / name: text for name, text in runit_files(daemon).items()}


def wanted_text(daemon: Daemon) -> str:
    """The definition of ``daemon``, for people."""
    return "".join(f"# {path}\n{text}" for path, text in _definition(daemon).items())


def installed_text(daemon: Daemon) -> str:
    """The installed definition, for people; empty if there is none."""
    return "".join(f"# {path}\n{path.read_text()}" for path in _definition(daemon) if path.exists())


def guests() -> set[str]:
    """The guests that have a daemon defined."""
    units = (path.stem.removeprefix("portchain-").rpartition("-")[0] for path in _UNITS.glob("portchain-*.service"))
    return {path.parts[-3] for path in RUN.glob("*/sv/*")} | set(units)


def differs(daemon: Daemon) -> bool:
    """Whether what is installed is not what ``daemon`` says."""
    return any(not path.exists() or path.read_text() != text for path, text in _definition(daemon).items())


def pid(daemon: Daemon) -> int | None:
    """The running daemon's pid, None when it is down."""
    if under_systemd():
        found = _run("systemctl", "show", "--property=MainPID", "--value", daemon.unit).strip()
    else:
        if not _supervised(daemon):
            return None
        found = _read(daemon.folder / "supervise/pid")
    return int(found) if found.isdigit() and found != "0" else None


def ensure_started(daemon: Daemon) -> bool:
    """Have the daemon running as defined; returns whether anything was done. Restarts one defined otherwise."""
    if not differs(daemon) and pid(daemon):
        return False
    if under_systemd():
        _install(daemon)
        _run("systemctl", "daemon-reload")
        _run("systemctl", "enable", daemon.unit)
        _run("systemctl", "restart", daemon.unit)
        return True
    if differs(daemon) and daemon.folder.exists():
        ensure_absent(daemon)
    _install(daemon)
    daemon.logs.mkdir(parents=True, exist_ok=True)
    if not _supervised(daemon):
        _spawn_runsv(daemon)
    _run("sv", "up", str(daemon.folder))
    return True


def ensure_stopped(daemon: Daemon) -> bool:
    """Have the daemon down, its definition kept; returns whether it was running."""
    if not pid(daemon):
        return False
    if under_systemd():
        _run("systemctl", "stop", daemon.unit)
    else:
        _run("sv", "-w", str(_STOP_DEADLINE), "down", str(daemon.folder))
    return True


def ensure_absent(daemon: Daemon) -> bool:
    """Have the daemon down and its definition gone; returns whether there was anything. Logs stay."""
    if not any(path.exists() for path in _definition(daemon)) and not daemon.folder.exists():
        return False
    if under_systemd():
        _run("systemctl", "disable", "--now", daemon.unit)
        (_UNITS / daemon.unit).unlink(missing_ok=True)
        _run("systemctl", "daemon-reload")
        return True
    if _supervised(daemon):
        # Down first: finish would take back an exit that was asked for while the daemon still ran.
        _run("sv", "-w", str(_STOP_DEADLINE), "down", str(daemon.folder))
        _run("sv", "-w", "10", "exit", str(daemon.folder))
        _wait(
            lambda: not _supervised(daemon),
            5,
            f"host: {daemon.name} of guest {daemon.guest}: runsv did not end",
        )
    shutil.rmtree(daemon.folder)
    with contextlib.suppress(OSError):
        daemon.folder.parent.rmdir()
    return True


def wait_ready(daemon: Daemon, path: Path, deadline: float) -> None:
    """Wait until the daemon answers on its unix socket; raise DaemonError with the end of its log."""

    def answers() -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            return client.connect_ex(str(path)) == 0

    wait_for(daemon, answers, deadline, f"did not answer on {path}")


def wait_for(daemon: Daemon, condition: Callable[[], bool], deadline: float, problem: str) -> None:
    """Wait until ``condition`` holds; raise DaemonError with the ``problem`` and the end of the daemon's log."""
    try:
        _wait(condition, deadline, f"host: {daemon.name} of guest {daemon.guest} {problem}")
    except DaemonError as error:
        log = _read(daemon.logs / "current").splitlines()[-5:]
        raise DaemonError("\n".join([f"{error}; see {daemon.log_hint}", *log])) from None


def remove_leftovers(paths: Iterable[Path]) -> bool:
    """Remove files and folders of daemons that are gone, and our folders that are empty then; returns whether any."""
    done = False
    for path in paths:
        if path.exists():
            done = True
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for folder in path.parents:
            if not {folder, *folder.parents} & {RUN, STATE, LOGS}:
                break
            with contextlib.suppress(OSError):
                folder.rmdir()
    return done


def _install(daemon: Daemon) -> None:
    for path, text in _definition(daemon).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644 if path.suffix == ".service" else 0o755)


def _spawn_runsv(daemon: Daemon) -> None:
    try:
        subprocess.Popen(
            ["runsv", str(daemon.folder)],
            cwd="/",
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise DaemonError("host: no runsv; install the package runit") from None
    _wait(lambda: _supervised(daemon), 10, f"host: {daemon.name} of guest {daemon.guest}: runsv did not start")


def _supervised(daemon: Daemon) -> bool:
    """Whether a runsv is there: it holds the reading end of supervise/ok."""
    try:
        os.close(os.open(daemon.folder / "supervise/ok", os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def _wait(condition: Callable[[], bool], deadline: float, message: str) -> None:
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise DaemonError(f"{message} within {deadline} s")
        time.sleep(0.02)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_STOP_DEADLINE + 20, check=False)
    except FileNotFoundError:
        raise DaemonError(f"host: no {command[0]}; is the package runit installed?") from None
    if done.returncode:
        raise DaemonError(f"host: {' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
