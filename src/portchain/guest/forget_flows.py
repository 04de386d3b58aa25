"""Have conntrack forget UDP flows, so that their next datagrams meet the nat rules as they are now.

Usage: python3 -m portchain.guest.forget_flows TARGET SOURCE...
"""

from __future__ import annotations

import argparse

from ..net.conntrack import Conntrack
from ..ports.forward import Endpoint


def main() -> None:
    """Forget the flows from each source to the target, such as 127.0.0.1:8080."""
    parser = argparse.ArgumentParser(prog="portchain.guest.forget_flows", description=__doc__)
    parser.add_argument("target", type=_endpoint)
    parser.add_argument("sources", type=_endpoint, nargs="+", metavar="source")
    options = parser.parse_args()
    conntrack = Conntrack()
    for source in options.sources:
        conntrack.forget(source, options.target)


def _endpoint(text: str) -> Endpoint:
    return Endpoint.parse(text, "udp")


if __name__ == "__main__":
    main()
