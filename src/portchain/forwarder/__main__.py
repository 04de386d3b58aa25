"""python3 -m portchain.forwarder: see `daemon`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import pwd
import resource
import sys
from pathlib import Path

from ..mapping.policy import DEFAULT_BIND, DEFAULT_RANDOM_PORTS, Policy
from .daemon import StartError, serve
from .listener import BindError
from .options import Options


def _uid(text: str) -> int:
    if text.isdigit():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise argparse.ArgumentTypeError(f"host: no user {text!r}") from None


def _options(parser: argparse.ArgumentParser) -> Options:
    words = parser.parse_args()
    try:
        policy = Policy.parse(
            filter(None, words.bind.split(",")), words.random_ports, words.random_address, not words.no_host_network
        )
    except ValueError as error:
        parser.error(str(error))
    return Options(
        guest=words.guest,
        run_dir=words.run_dir,
        state_dir=words.state_dir,
        owner=words.owner,
        guest_uid=words.guest_uid,
        policy=policy,
    )


def main() -> int:
    """Run the forwarder of one guest until it is told to stop."""
    parser = argparse.ArgumentParser(prog="portchain.forwarder", description=__doc__)
    parser.add_argument("--guest", required=True)
    parser.add_argument("--run-dir", required=True, type=Path)
    parser.add_argument("--state-dir", required=True, type=Path)
    parser.add_argument("--owner", required=True, type=_uid, help="uid or name the host's sockets belong to")
    parser.add_argument("--guest-uid", required=True, type=int, help="uid on the host of the guest's root")
    policy = parser.add_argument_group("which of the host's ports the guest's containers may have")
    policy.add_argument(
        "--bind", default=",".join(DEFAULT_BIND), metavar="ADDRESS:PORTS,…", help="may be bound (default: %(default)s)"
    )
    policy.add_argument("--random-ports", default=str(DEFAULT_RANDOM_PORTS), help="where no port is asked for")
    policy.add_argument("--random-address", help="listen there for those ports, * for any; else as asked for")
    policy.add_argument("--no-host-network", action="store_true", help="leave out containers in host network mode")
    options = _options(parser)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    Path("/proc/self/comm").write_text("portchain-fwd")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        asyncio.run(serve(options))
    except (StartError, BindError) as error:
        logging.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
