"""Names by which the guest and its containers know host, guest and proxy. Pure."""

from __future__ import annotations

import re

# Docker Desktop's names, old ones included. Host and gateway are the same here.
HOST_NAMES = (
    *("host.docker.internal", "docker.for.mac.host.internal", "docker.for.win.host.internal"),
    *("docker.for.mac.localhost", "docker.for.win.localhost"),
    *("gateway.docker.internal", "docker.for.mac.gateway.internal", "docker.for.win.gateway.internal"),
)
GUEST_NAMES = ("vm.docker.internal", "kubernetes.docker.internal")
PROXY_NAMES = ("http.docker.internal", "docker.for.mac.http.internal", "docker.for.win.http.internal")
OWN_DOMAIN = "docker.internal"
# These, and all names below them, are answered by the guest itself.
OWN_DOMAINS = (OWN_DOMAIN, *(name for name in (*HOST_NAMES, *PROXY_NAMES) if not name.endswith(f".{OWN_DOMAIN}")))
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_MAX_NAME = 253


def is_name(text: str) -> bool:
    """Return whether ``text``, in lower case, can be the name of a host or domain."""
    return len(text) <= _MAX_NAME and all(_LABEL.fullmatch(label) for label in text.split("."))
