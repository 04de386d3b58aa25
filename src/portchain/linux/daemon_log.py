"""Log a daemon's messages to standard error: printable, and bounded in length and rate."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from .printable import printable

MAX_LENGTH = 4000  # characters of one message
MAX_MESSAGES, PERIOD = 200, 10.0  # messages in so many seconds


class PrintableFormatter(logging.Formatter):
    """Formats a message on lines of printable text; what is too long loses its middle."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message, with a traceback if it has one."""
        text = super().format(record)
        if len(text) > MAX_LENGTH:
            text = f"{text[: MAX_LENGTH // 2]} … {text[-MAX_LENGTH // 2 :]}"
        return printable(text, keep="\n" if record.exc_info else "")


class Quota:
    """Admits ``most`` events in ``period`` seconds."""

    def __init__(self, most: int, period: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._period = period
        self._clock = clock
        self._began = -math.inf
        self._admitted = self._refused = 0

    def admit(self) -> int | None:
        """Return how many events were refused since the last one that was admitted; None to refuse this one, too."""
        now = self._clock()
        if now - self._began >= self._period:
            self._began, self._admitted = now, 0
        if self._admitted >= self._most:
            self._refused += 1
            return None
        self._admitted += 1
        refused, self._refused = self._refused, 0
        return refused


class RateLimit(logging.Filter):
    """Limits the messages to ``most`` in ``period`` seconds; the next one after that says how many were left out."""

    def __init__(
        self, most: int = MAX_MESSAGES, period: float = PERIOD, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._quota = Quota(most, period, clock)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log ``record``."""
        left_out = self._quota.admit()
        if left_out:
            record.msg = f"({left_out} messages were left out) {record.msg}"
        return left_out is not None


def configure(program: str = "") -> None:
    """Log from level INFO on, each message after the name of ``program`` if it is given."""
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter(f"{program}: %(message)s" if program else "%(message)s"))
    handler.addFilter(RateLimit())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
