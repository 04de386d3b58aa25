"""Standard streams as Unix tools have them: one that is closed or full is nobody else's error."""

from __future__ import annotations

import errno
import io
import os
import select
import signal
import subprocess
import sys
from typing import IO, Any

from ..linux.printable import printable

_PIECE = 1 << 16  # bytes
# What stands for a stream that is closed: its number would be the next file's, and closed ones fail like this.
_CLOSED = ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY))


class OutputError(Exception):
    """Raised where standard output takes nothing more; not an OSError, for those are taken for the guest's."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output: {error.strerror}")
        self._gone = error.errno == errno.EPIPE  # as in ``portchain trace | head``

    def report(self) -> int:
        """Print the error, unless the reader has left on purpose; discard the rest, and return the exit status."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if self._gone:
            return 128 + signal.SIGPIPE
        print(f"portchain: {self}", file=sys.stderr)
        return 1


class _Output(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(error) from None


class _Errors(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


class _PrintableText(io.TextIOWrapper):
    def write(self, text: str) -> int:
        super().write(printable(text, keep="\n\t"))
        return len(text)


def guard() -> None:
    """Make failed writes to standard output raise OutputError, and ignore those to standard error."""
    for number, flags in _CLOSED:
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_Errors(2, "w", closefd=False), sys.stderr, _PrintableText, line_buffering=True)


def _text(
    raw: io.FileIO,
    replaced: io.TextIOWrapper | Any,
    wrapper: type[io.TextIOWrapper] = io.TextIOWrapper,
    line_buffering: bool = False,
) -> io.TextIOWrapper:
    """Wrap ``raw`` as text in the encoding of ``before``; what that cannot encode is written as escapes."""
    encoding = replaced.encoding if replaced else "utf-8"
    buffer = io.BufferedWriter(raw)
    return wrapper(buffer, encoding, "backslashreplace", line_buffering=line_buffering or raw.isatty())


def copy_to_stdout(source: IO[bytes]) -> None:
    """Copy ``source`` to standard output as it arrives; raise OutputError, even while nothing is written."""
    out, poll = sys.stdout.buffer, select.poll()
    poll.register(source, select.POLLIN)
    poll.register(out, 0)
    while out.fileno() not in dict(poll.poll()):
        if not (piece := os.read(source.fileno(), _PIECE)):
            return
        out.write(piece)
        out.flush()
    raise OutputError(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))


def drain_to_stdout(source: IO[bytes]) -> int:
    """Copy ``source`` to its end though nobody reads it; return the exit status."""
    try:
        copy_to_stdout(source)
    except OutputError as error:
        status = error.report()
        copy_to_stdout(source)
        return status
    return 0


def run(command: list[str]) -> int:
    """Run a command that prints to standard output and return its exit status; raise OutputError."""
    if sys.stdout.isatty():
        return subprocess.run(command, check=False).returncode
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            copy_to_stdout(process.stdout)
            return process.wait()
        except BaseException:
            process.terminate()
            raise
