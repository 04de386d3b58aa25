"""Large pipes to splice through, and a pool of them."""

from __future__ import annotations

import fcntl
import os

PIPE_SIZE = 1024 * 1024
MAX_PIPES = 32  # the kernel lets an unprivileged user have 64 MiB in pipes


class Pipe:
    """A pipe with ``filled`` bytes in it; ``ends`` is one of another process. Raise OSError if it cannot be large."""

    __slots__ = ("filled", "reader", "writer")

    def __init__(self, ends: tuple[int, int] | None = None, filled: int = 0) -> None:
        self.reader, self.writer = ends or os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.filled = filled
        try:
            fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close both ends."""
        os.close(self.reader)
        os.close(self.writer)


class PipePool:
    """A pool of at most `MAX_PIPES` large pipes."""

    def __init__(self) -> None:
        self._spare: list[Pipe] = []
        self._made = 0

    def take(self) -> Pipe | None:
        """Return an empty pipe; None if all are in use or the kernel allows no large one."""
        if self._spare:
            return self._spare.pop()
        if self._made >= MAX_PIPES:
            return None
        try:
            pipe = Pipe()
        except OSError:
            return None
        self._made += 1
        return pipe

    def adopt(self, ends: tuple[int, int], filled: int) -> Pipe:
        """Return a pipe of another process, which counts among those made; raise OSError."""
        pipe = Pipe(ends, filled)
        self._made += 1
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        """Take a pipe back, to be used again if it is empty."""
        if pipe.filled:
            pipe.close()
            self._made -= 1
        else:
            self._spare.append(pipe)
