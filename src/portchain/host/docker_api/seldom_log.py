"""Log what a guest can make happen as often as it likes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ...linux.daemon_log import Quota

SECONDS = 60.0


class SeldomLog:
    """Logs at most one message in ``seconds``, with the number of those left out, which become debug messages."""

    def __init__(self, log: logging.Logger, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic):
        self._log = log
        self._quota = Quota(1, seconds, clock)

    def warning(self, text: str, *arguments: object) -> None:
        """Log a warning."""
        self._write(logging.WARNING, False, text, *arguments)

    def exception(self, text: str, *arguments: object) -> None:
        """Log an error and the exception that is being handled."""
        self._write(logging.ERROR, True, text, *arguments)

    def _write(self, level: int, with_exception: bool, text: str, *arguments: object) -> None:
        left_out = self._quota.admit()
        if left_out is None:
            level = logging.DEBUG
        more = f" ({left_out} more such messages before)" if left_out else ""
        self._log.log(level, text + more, *arguments, exc_info=with_exception)
