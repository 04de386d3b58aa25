"""Traces for the terminal."""

from __future__ import annotations

from ..trace import Trace


def show(trace: Trace) -> None:
    """Print it."""
    for chain in trace.chains:
        for hop in chain.hops:
            print(f"{hop.state:8} {hop.kind:17} {hop.microseconds or '':>8} {hop.title}  {hop.says} {hop.evidence}")
        if chain.verdict:
            print(f"{chain.verdict.code}: {chain.verdict.text}\n  {chain.verdict.remedy}")
