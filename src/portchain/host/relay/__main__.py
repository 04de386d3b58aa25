"""The command ``python3 -m portchain.host.relay``: runs the relay of one guest."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from select import EPOLLIN

from ...linux import daemon_log
from ...linux.descriptor_limit import raise_descriptor_limit
from ...net.listening import BindError, open_unix_listener
from ...net.loop import Loop
from ...net.splicing import end_blocked_calls
from .. import host_services
from .confinement import confine
from .discarding import Discarder
from .forwarder_end import ForwarderEnd
from .lender import BACKLOG

MAX_SIGNALS = 100  # that are read at once


def main() -> int:
    """Relay until SIGTERM comes, then hand all connections on."""
    parser = argparse.ArgumentParser(prog="portchain.host.relay", description=__doc__)
    parser.add_argument("--run-dir", required=True, type=Path)
    parser.add_argument("--guest-uid", required=True, type=int, help="uid on the host of the guest's root")
    parser.add_argument("--uid", required=True, type=int, help="uid to run as, if started by root")
    options = parser.parse_args()
    daemon_log.configure("relay")
    Path("/proc/self/comm").write_text("portchain-relay")
    raise_descriptor_limit()
    try:
        host_services.make(options.run_dir, options.guest_uid)
        handoff = open_unix_listener(host_services.relay_socket(options.run_dir), os.geteuid(), socket.SOCK_SEQPACKET)
        lending = open_unix_listener(
            host_services.lending_socket(options.run_dir), options.guest_uid, socket.SOCK_SEQPACKET, BACKLOG
        )
        discarder = Discarder()
        confine(options.uid)
    except (OSError, BindError) as error:
        logging.error("host: the relay cannot start: %s", error)
        return 1
    end_blocked_calls()
    loop = Loop()
    end = ForwarderEnd(loop, handoff, lending, discarder)
    stop_at_sigterm(loop)
    loop.run()
    end.hand_on()
    signal.setitimer(signal.ITIMER_REAL, 0)  # whose signal would end the process once Python's handlers are gone
    return 0


def stop_at_sigterm(loop: Loop) -> None:
    """Have the loop stop after the round in which SIGTERM comes."""

    def stop(_mask: int) -> None:
        loop.stopped = signal.SIGTERM in os.read(reader, MAX_SIGNALS)

    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    loop.watch(reader, EPOLLIN, stop)


if __name__ == "__main__":
    sys.exit(main())
