"""The command ``python3 -m portchain.host``: runs the forwarder of one guest."""

from __future__ import annotations

import argparse
import asyncio
import logging
import pwd
import sys
from pathlib import Path

from ..linux import daemon_log
from ..linux.descriptor_limit import raise_descriptor_limit
from ..net.listening import BindError
from ..ports.bind_policy import DEFAULT_BIND, DEFAULT_RANDOM_PORTS, Policy
from .daemon import StartError, serve
from .daemon_options import DaemonOptions


def _parse_uid(text: str) -> int:
    if text.isdigit():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise argparse.ArgumentTypeError(f"host: no user {text!r}") from None


def _parse_options(parser: argparse.ArgumentParser) -> DaemonOptions:
    arguments = parser.parse_args()
    try:
        policy = Policy.parse(
            filter(None, arguments.bind.split(",")),
            arguments.random_ports,
            arguments.random_address,
            not arguments.no_host_network,
            arguments.privileged_ports,
        )
    except ValueError as error:
        parser.error(str(error))
    return DaemonOptions(
        guest=arguments.guest,
        run_dir=arguments.run_dir,
        state_dir=arguments.state_dir,
        owner=arguments.owner,
        guest_uid=arguments.guest_uid,
        policy=policy,
    )


def main() -> int:
    """Run the forwarder of one guest until it is told to stop."""
    parser = argparse.ArgumentParser(prog="portchain.host", description=__doc__)
    parser.add_argument("--guest", required=True)
    parser.add_argument("--run-dir", required=True, type=Path)
    parser.add_argument("--state-dir", required=True, type=Path)
    parser.add_argument("--owner", required=True, type=_parse_uid, help="uid or name the host's sockets belong to")
    parser.add_argument("--guest-uid", required=True, type=int, help="uid on the host of the guest's root")
    policy = parser.add_argument_group("which of the host's ports the guest's containers may have")
    policy.add_argument(
        "--bind", default=",".join(DEFAULT_BIND), metavar="ADDRESS:PORTS,…", help="may be bound (default: %(default)s)"
    )
    policy.add_argument("--privileged-ports", action="store_true", help="those below 1024 may be bound as well")
    policy.add_argument("--random-ports", default=str(DEFAULT_RANDOM_PORTS), help="where no port is asked for")
    policy.add_argument("--random-address", help="listen there for those ports, * for any; else as asked for")
    policy.add_argument("--no-host-network", action="store_true", help="leave out containers in host network mode")
    options = _parse_options(parser)
    daemon_log.configure()
    Path("/proc/self/comm").write_text("portchain-fwd")
    raise_descriptor_limit()
    try:
        asyncio.run(serve(options))
    except (StartError, BindError) as error:
        logging.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
