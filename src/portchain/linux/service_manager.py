"""Run the host's daemons: by systemd units if systemd is PID 1, otherwise by runit's runsv.

A daemon that exits with status 0 has finished and stays down; after any other end it is restarted.
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

from . import group_trees, memory_limit

RUN = Path("/run/portchain")
STATE = Path("/var/lib/portchain")
LOGS = Path("/var/log/portchain")
UNITS = Path("/etc/systemd/system")
_STOP_DEADLINE = 40
_LIMITER = "portchain.linux.memory_limit"


class DaemonError(Exception):
    """A daemon could not be brought into the wanted state; the message says which, and where its log is."""


@dataclass(frozen=True)
class Daemon:
    """The daemon ``name`` of one guest: the command to run, and the ``version`` (any text) of the program.

    ``memory`` is the most that it may take, in bytes, or 0 for any: it is killed beyond that, and so restarted. Where
    systemd does not see to that, this package does, which ``environment`` must lead Python to.
    """

    name: str
    guest: str
    argv: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    version: str = ""
    memory: int = 0

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
        """Where a person reads the daemon's log: a command or a path."""
        return f"journalctl -u {self.unit}" if under_systemd() else str(self.logs / "current")


def under_systemd() -> bool:
    """Return whether systemd is PID 1."""
    return Path("/run/systemd/system").is_dir()


def unit_text(daemon: Daemon) -> str:
    """Return the text of the systemd unit."""
    variables = (f"{key}={value}" for key, value in sorted(daemon.environment.items()))
    environment = "".join(f"Environment={_quote_for_unit(variable)}\n" for variable in variables)
    command = " ".join(_quote_for_unit(argument).replace("$", "$$") for argument in daemon.argv)
    limit = f"MemoryMax={daemon.memory}\nMemorySwapMax=0\n" if daemon.memory else ""
    return (
        f"[Unit]\nDescription=portchain: {daemon.name} of guest {daemon.guest}\nStartLimitIntervalSec=0\n\n"
        f"[Service]\n{environment}ExecStart={command}\n"
        f"Restart=on-failure\nRestartSec=1\nTimeoutStopSec={_STOP_DEADLINE}\nKillMode=mixed\nDelegate=yes\n"
        f"{limit}# version {daemon.version}\n\n[Install]\nWantedBy=multi-user.target\n"
    )


def _quote_for_unit(text: str) -> str:
    """Quote a text for a unit file, after systemd.syntax(7) and the specifiers of systemd.unit(5)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def runit_files(daemon: Daemon) -> dict[str, str]:
    """Return the scripts of the runit service directory, by relative path."""
    exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in sorted(daemon.environment.items()))
    limit = ("/usr/bin/python3", "-m", _LIMITER, _group(daemon), str(daemon.memory))
    command = shlex.join((*(limit if daemon.memory else ()), *daemon.argv))
    return {
        "run": f"#!/bin/sh\n# version {daemon.version}\n{exports}exec 2>&1\nexec {command}\n",
        "finish": '#!/bin/sh\n[ "$1" -ne 0 ] || exec sv down .\n',
        "log/run": f"#!/bin/sh\nexec svlogd -tt {shlex.quote(str(daemon.logs))}\n",
    }


def _group(daemon: Daemon) -> str:
    return f"portchain-{daemon.guest}-{daemon.name}"


def _definition(daemon: Daemon) -> dict[Path, str]:
    if under_systemd():
        return {UNITS / daemon.unit: unit_text(daemon)}
    return {daemon.folder / name: text for name, text in runit_files(daemon).items()}


def wanted_text(daemon: Daemon) -> str:
    """Return the definition of ``daemon``, for people."""
    return "".join(f"# {path}\n{text}" for path, text in _definition(daemon).items())


def installed_text(daemon: Daemon) -> str:
    """Return the installed definition, for people; empty if there is none."""
    return "".join(f"# {path}\n{path.read_text()}" for path in _definition(daemon) if path.exists())


def guests(units: Path = UNITS) -> set[str]:
    """Return the names of guests that have a daemon defined; ``units`` is systemd's folder."""
    by_unit = {path.stem.removeprefix("portchain-").rpartition("-")[0] for path in units.glob("portchain-*.service")}
    return {path.parts[-3] for path in RUN.glob("*/sv/*")} | by_unit


def differs(daemon: Daemon) -> bool:
    """Return whether the installed definition is not that of ``daemon``."""
    return any(not path.exists() or path.read_text() != text for path, text in _definition(daemon).items())


def pid(daemon: Daemon) -> int | None:
    """Return the running daemon's pid; None if it is down."""
    if under_systemd():
        output = _run("systemctl", "show", "--property=MainPID", "--value", daemon.unit).strip()
    else:
        if not _supervised(daemon):
            return None
        output = _read(daemon.folder / "supervise/pid")
    return int(output) if output.isdigit() and output != "0" else None


def ensure_started(daemon: Daemon) -> bool:
    """Start the daemon as defined, or restart it if it runs otherwise; return whether anything was done."""
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
    """Stop the daemon, but keep its definition; return whether it was running."""
    if not pid(daemon):
        return False
    if under_systemd():
        _run("systemctl", "stop", daemon.unit)
    else:
        _take_down(daemon)
    return True


def _take_down(daemon: Daemon) -> None:
    """Have runsv end the daemon, by SIGKILL if it has not ended by the deadline, as systemd does."""
    try:
        _control(daemon, "-w", str(_STOP_DEADLINE), "down")
    except DaemonError:
        _control(daemon, "kill")
        _control(daemon, "-w", "10", "down")


def _control(daemon: Daemon, *words: str) -> None:
    """Run sv on the daemon; ignore a failure if runsv is not running any more."""
    try:
        _run("sv", *words, str(daemon.folder))
    except DaemonError:
        if _supervised(daemon):
            raise


def ensure_absent(daemon: Daemon) -> bool:
    """Stop the daemon and remove its definition, but not its logs; return whether there was anything."""
    if not any(path.exists() for path in _definition(daemon)) and not daemon.folder.exists():
        return False
    if under_systemd():
        _run("systemctl", "disable", "--now", daemon.unit)
        (UNITS / daemon.unit).unlink(missing_ok=True)
        _run("systemctl", "daemon-reload")
        return True
    if _supervised(daemon):
        # The daemon is stopped before runsv exits: "finish" would undo an exit requested while the daemon runs.
        _take_down(daemon)
        _control(daemon, "-w", "10", "exit")
        _wait(
            lambda: not _supervised(daemon),
            5,
            f"host: {daemon.name} of guest {daemon.guest}: runsv did not end",
        )
    group = _read(daemon.folder / memory_limit.GROUP_FILE)
    if group:
        group_trees.kill(Path(group))
        group_trees.remove_trees([Path(group)], _STOP_DEADLINE)
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
    """Remove files and folders of daemons that are gone, and parents that are then empty; return whether any were."""
    removed = False
    for path in paths:
        if path.exists():
            removed = True
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for folder in path.parents:
            if not {folder, *folder.parents} & {RUN, STATE, LOGS}:
                break
            with contextlib.suppress(OSError):
                folder.rmdir()
    return removed


def _install(daemon: Daemon) -> None:
    for path, text in _definition(daemon).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644 if path.suffix == ".service" else 0o755)


def _spawn_runsv(daemon: Daemon) -> None:
    """Start runsv with default signals; otherwise every container would ignore the signals that the caller ignores."""
    if not shutil.which("runsv"):
        raise DaemonError("host: no runsv; install the package runit")
    subprocess.Popen(
        ["env", "--default-signal", "runsv", str(daemon.folder)],
        cwd="/",
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _wait(lambda: _supervised(daemon), 10, f"host: {daemon.name} of guest {daemon.guest}: runsv did not start")


def _supervised(daemon: Daemon) -> bool:
    """Return whether a runsv runs; it holds the reading end of supervise/ok."""
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
