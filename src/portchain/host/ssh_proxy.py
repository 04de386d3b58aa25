"""A ProxyCommand for ssh into a guest: connects to the unix socket in the only argument and passes it to ssh.

With ProxyUseFdpass, ssh then uses the socket itself, with no process in between.
"""

from __future__ import annotations

import contextlib
import socket
import sys


def ssh_config(guest: str, run_dir: str, source: str) -> str:
    """Return the text of an ssh_config for ``ssh -F`` into ``guest``."""
    return (
        f"Host {guest}\n"
        "  User root\n"
        f"  ProxyCommand /usr/bin/python3 -I {source}/portchain/host/ssh_proxy.py {run_dir}/ssh.sock\n"
        "  ProxyUseFdpass yes\n"
        "  StrictHostKeyChecking no\n"
        "  UserKnownHostsFile /dev/null\n"
        "  LogLevel ERROR\n"
    )


def main() -> int:
    """Connect to the socket and pass the connection to ssh."""
    with socket.socket(socket.AF_UNIX) as guest, socket.socket(fileno=1) as ssh:
        try:
            guest.connect(sys.argv[1])
        except OSError as error:
            print(f"host: {sys.argv[1]}: {error.strerror}; is the guest up? portchain status", file=sys.stderr)
            return 1
        with contextlib.suppress(BrokenPipeError):  # ssh may have ended meanwhile
            socket.send_fds(ssh, [b"\0"], [guest.fileno()])
    return 0


if __name__ == "__main__":
    sys.exit(main())
