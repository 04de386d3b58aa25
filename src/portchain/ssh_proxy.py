"""ssh's way into a guest: connect to the unix socket that is the only argument and pass the connection to ssh.

For ProxyCommand with ProxyUseFdpass: ssh then speaks on the socket itself, nothing in between.
"""

from __future__ import annotations

import socket
import sys


def ssh_config(guest: str, run_dir: str, source: str) -> str:
    """The text of the ssh_config by which ``ssh -F`` enters ``guest``."""
    return (
        f"Host {guest}\n"
        "  User root\n"
        f"  ProxyCommand /usr/bin/python3 -I {source}/portchain/ssh_proxy.py {run_dir}/ssh.sock\n"
        "  ProxyUseFdpass yes\n"
        "  StrictHostKeyChecking no\n"
        "  UserKnownHostsFile /dev/null\n"
        "  LogLevel ERROR\n"
    )


def main() -> int:
    """Connect and pass the connection on."""
    with socket.socket(socket.AF_UNIX) as guest, socket.socket(fileno=1) as ssh:
        try:
            guest.connect(sys.argv[1])
        except OSError as error:
            print(f"host: {sys.argv[1]}: {error.strerror}; is the guest up? portchain status", file=sys.stderr)
            return 1
        socket.send_fds(ssh, [b"\0"], [guest.fileno()])
    return 0


if __name__ == "__main__":
    sys.exit(main())
