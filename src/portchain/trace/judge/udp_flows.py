"""UDP clients that are led elsewhere than new ones: conntrack keeps leading a flow where its first datagram went."""

from __future__ import annotations

from ...ports.forward import Endpoint
from .findings import ChainWalk, Finding, broken

# A flow that was silent for longer is over, or begins anew before it is missed.
_LATELY = 10.0  # seconds
_MAX_FORGOTTEN = 20  # flows in one command


def elsewhere(walk: ChainWalk, finding: Finding, published_at: Endpoint, target: Endpoint) -> Finding | None:
    """Return the verdict on clients of ``before`` that are not led where it ``leads`` now."""
    flows = [flow for flow in (walk.guest.flows if walk.guest else ()) if flow.destination == published_at]
    recent = [flow for flow in flows if flow.protocol == "udp" and flow.silent <= _LATELY]
    astray = [flow for flow in recent if flow.reply_source != target]
    if not astray:
        return None
    first = astray[0]
    source, actual = first.source.hostport, first.reply_source.hostport
    text = (
        f"{len(astray)} of {len(recent)} clients are not led to {target.hostport}: what comes from {source} "
        f"goes to {actual}, as its first datagram did, for conntrack keeps to that while more come"
    )
    ends = (published_at.hostport, *(flow.source.hostport for flow in astray[:_MAX_FORGOTTEN]))
    forget = walk.shell("env", "PYTHONPATH=/usr/lib/portchain", "python3", "-m", "portchain.guest.forget_flows", *ends)
    return broken(finding, "flow-elsewhere", text, f"start the client anew, or have conntrack forget: {forget}")
