"""Raise the number of descriptors that this process may have open."""

from __future__ import annotations

import resource
import sys


def raise_descriptor_limit(most: int = sys.maxsize) -> None:
    """Raise the limit to the hard limit, or to ``most``, both limits, if that is less."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, most),) * 2)
