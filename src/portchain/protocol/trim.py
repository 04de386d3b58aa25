"""The request by which the guest has its data disk trimmed, and an error in the answer. Pure."""

from __future__ import annotations

REQUEST = b"trim\n"
MINIMUM_INTERVAL = 2.0  # seconds
TOO_SOON = "too soon"
