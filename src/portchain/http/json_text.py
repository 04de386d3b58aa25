"""Parse JSON from untrusted peers in bounded time and memory. Pure."""

from __future__ import annotations

import json
from typing import Any

MAX_BYTES = 16 * 1024 * 1024
# A list of 1000 containers with compose's labels has 90 000; an inspection of 16 000 published ports has 210 000.
MAX_VALUES = 250_000
VALUE_BYTES = 100  # of memory for a parsed value, text aside


class TooMuchJsonError(ValueError):
    """A document is too long, has too many values or is nested too deeply."""


def count_values(text: bytes | bytearray) -> int:
    """Return an upper bound for the number of values in ``text``, without parsing it."""
    return 1 + sum(text.count(mark) for mark in (b",", b"[", b"{"))


def parse(text: bytes | bytearray, max_values: int = MAX_VALUES, max_bytes: int = MAX_BYTES) -> Any:
    """Parse a document; raise ValueError for what is not JSON.

    One of more than ``max_bytes``, or ``max_values``, or nested too deeply raises TooMuchJsonError, which is one.

    NaN and infinity, which Python's own parser takes, are not JSON.
    """
    if len(text) > max_bytes:
        raise TooMuchJsonError(f"JSON of {len(text)} bytes; at most {max_bytes}")
    if count_values(text) > max_values:
        raise TooMuchJsonError(f"JSON of more than {max_values} values")
    kind, problem = ValueError, "JSON that is nested too deeply"
    try:
        return _DECODER.decode(text.decode())
    except RecursionError:
        kind = TooMuchJsonError
    except ValueError as error:
        problem = str(error)
    # Raised here, so that the text is not kept with the parser's own exception.
    raise kind(problem)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no value of JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
