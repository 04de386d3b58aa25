"""The command ``python3 -m portchain.host.relay``: runs the relay of one guest."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import socket
import sys
from pathlib import Path

from ...linux import daemon_log
from ...net.listening import BindError, open_unix_listener
from ...net.loop import Loop
from .. import host_services
from .confinement import confine
from .forwarder_end import ForwarderEnd


def main() -> int:
    """Relay until killed."""
    parser = argparse.ArgumentParser(prog="portchain.host.relay", description=__doc__)
    parser.add_argument("--run-dir", required=True, type=Path)
    parser.add_argument("--guest-uid", required=True, type=int, help="uid on the host of the guest's root")
    parser.add_argument("--uid", required=True, type=int, help="uid to run as, if started by root")
    options = parser.parse_args()
    daemon_log.configure("relay")
    Path("/proc/self/comm").write_text("portchain-relay")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        host_services.make(options.run_dir, options.guest_uid)
        handoff = open_unix_listener(host_services.relay_socket(options.run_dir), os.geteuid(), socket.SOCK_SEQPACKET)
        lending = open_unix_listener(
            host_services.lending_socket(options.run_dir), options.guest_uid, socket.SOCK_SEQPACKET
        )
        confine(options.uid)
    except (OSError, BindError) as error:
        logging.error("host: the relay cannot start: %s", error)
        return 1
    loop = Loop()
    ForwarderEnd(loop, handoff, lending)
    loop.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
