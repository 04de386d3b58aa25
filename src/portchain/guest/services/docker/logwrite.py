"""logwrite: run a command and write what it prints, with time stamps, to a log file of bounded size.

Usage: logwrite -n NAME COMMAND [ARGUMENT ...]
The log is /var/log/docker/NAME.log. The exit status is the command's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from ....linux.rotating_log import RotatingLog, StampedLines
from ....linux.syscalls import die_with_parent

FOLDER = Path("/var/log/docker")
_CHUNK = 65536


def run(log: StampedLines, command: list[str]) -> int:
    """Run ``command``, write its output to ``log`` and pass signals on to it; return its exit status."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=die_with_parent,  # noqa: PLW1509 (there is one thread)
    ) as child:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda received, _: child.send_signal(received))
        assert child.stdout
        _copy(child.stdout, log)
        status = child.wait()
    return status if status >= 0 else 128 - status


def _copy(source: IO[bytes], log: StampedLines) -> None:
    while data := os.read(source.fileno(), _CHUNK):
        log.feed(data)
    log.close()


def main() -> int:
    """Run the command that the arguments name."""
    if len(sys.argv) < 4 or sys.argv[1] != "-n":
        print(__doc__, file=sys.stderr)
        return 2
    return run(StampedLines(RotatingLog(FOLDER / f"{sys.argv[2]}.log")), sys.argv[3:])
