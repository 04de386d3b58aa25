"""Take secrets out of what is given to others. Rather too much is removed than too little."""

from __future__ import annotations

import json
import re
from typing import Any

HIDDEN = "***"
# Logs are long, so every pattern begins with something rare and has bounds.
_SECRET = (
    r"(?:pass(?:word|wd|phrase)?|secret|token|(?:api|private|access)[_-]?key|auth|authorization|credential|cookie)"
    r"(?:s|[_-][\w-]{0,32})?"
)
_NAME = re.compile(rf"{_SECRET}$", re.IGNORECASE)
_PAIR = re.compile(
    rf"""({_SECRET}["']?[ \t]{{0,8}}(?:=|:[ \t]))"""
    r"""(?:"(?:[^"\\]|\\.)*"?|'[^']*'?|(?:basic|bearer)[ ]\S+|[^\s,;&"'}\])]+)""",
    re.IGNORECASE,
)
_OPTION = re.compile(rf"(-{_SECRET}[ =])(\S+)", re.IGNORECASE)
_URL = re.compile(r"(://[^/\s:@]{0,256}):[^/\s@]{1,512}@")
_PEM = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


def text(data: str) -> str:
    """Return ``data`` without passwords in URLs, private keys, and values whose names suggest secrets."""
    data = _PEM.sub(rf"\1{HIDDEN}\2", data)
    data = _URL.sub(rf"\1:{HIDDEN}@", data)
    data = _OPTION.sub(rf"\1{HIDDEN}", data)
    return _PAIR.sub(rf"\1{HIDDEN}", data)


def tree(value: Any) -> Any:
    """Redact parsed JSON: its texts, and everything below a name that suggests secrets."""
    if isinstance(value, dict):
        return {key: HIDDEN if _NAME.search(key) and item else tree(item) for key, item in value.items()}
    if isinstance(value, list):
        return [tree(item) for item in value]
    return text(value) if isinstance(value, str) else value


def content(name: str, data: bytes) -> bytes:
    """Redact the content of a file called ``name``; JSON stays JSON."""
    if name.endswith(".json"):
        try:
            return json.dumps(tree(json.loads(data)), indent=2).encode()
        except ValueError:
            pass  # cut short, or several objects: redacted as text
    return text(data.decode(errors="replace")).encode()
