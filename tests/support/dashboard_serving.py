"""A dashboard in this process, with a machine and actions that tests say."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from portchain.dashboard import live
from portchain.dashboard.actions import Actions
from portchain.dashboard.app import Dashboard, Timeouts
from portchain.dashboard.guard import CSRF_HEADER, Guard
from portchain.dashboard.page_changes import Picture
from portchain.dashboard.programs import ProgramError
from portchain.dashboard.terminal_screen import Size
from portchain.dashboard.watch import Watch

SECONDS = 10


class Echo:
    """A program that greets, says what is typed, and notes its end."""

    def __init__(self, greeting: str = "") -> None:
        self._said: asyncio.Queue[bytes] = asyncio.Queue()
        self._said.put_nowait(greeting.encode())
        self.ended = threading.Event()
        self.sizes: list[Size] = []

    async def output(self) -> AsyncIterator[bytes]:
        while (data := await self._said.get()) != b"exit\r\n":
            yield data

    async def write(self, data: bytes) -> None:
        self._said.put_nowait(data.replace(b"\r", b"\r\n"))

    async def resize(self, size: Size) -> None:
        self.sizes.append(size)

    async def end(self) -> None:
        self.ended.set()


@dataclass
class Deeds:
    """Stands for Actions: remembers what it was told."""

    done: list[str] = field(default_factory=list)
    programs: list[Echo] = field(default_factory=list)
    refuses: str = ""
    refuses_programs: str = ""
    does: Callable[[str], object] = str

    async def container(self, identity: str, action: str) -> None:
        self._do(f"{action} {identity}")

    async def restart_service(self, name: str) -> None:
        self._do(f"restart {name}")

    async def container_log(self, identity: str) -> Echo:
        return self._run(f"log of {identity}\n")

    async def service_log(self, name: str) -> Echo:
        return self._run(f"log of {name}\n")

    async def container_shell(self, identity: str, size: Size) -> Echo:
        return self._shell(identity, size)

    async def service_shell(self, name: str, size: Size) -> Echo:
        return self._shell(name, size)

    def _shell(self, name: str, size: Size) -> Echo:
        shell = self._run(f"shell in \x1b[31m{name}\x1b[0m\r\n")
        shell.sizes.append(size)
        return shell

    def _do(self, what: str) -> None:
        if self.refuses:
            raise ProgramError(self.refuses)
        self.done.append(what)
        self.does(what)

    def _run(self, greeting: str) -> Echo:
        if self.refuses_programs:
            raise ProgramError(self.refuses_programs)
        self.programs.append(Echo(greeting))
        return self.programs[-1]


class Served:
    """A running dashboard: its guard, its deeds, and a client of it."""

    def __init__(self, port: int, guard: Guard, deeds: Deeds) -> None:
        self.port = port
        self.guard = guard
        self.deeds = deeds
        self.looks = 0

    @property
    def cookie(self) -> dict[str, str]:
        """What a browser sends that has been let in."""
        return {"Cookie": f"portchain_{self.port}={self.guard.session}"}

    @property
    def own(self) -> dict[str, str]:
        """What the page's own script sends."""
        return {**self.cookie, "Origin": f"http://127.0.0.1:{self.port}", CSRF_HEADER: "dashboard"}

    def open(self, method: str, path: str, headers: Mapping[str, str], body: Any = None) -> http.client.HTTPResponse:
        """The head of the answer; the body is to be read by whoever asks."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        connection.request(method, path, body, dict(headers))
        return connection.getresponse()

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: Any = None) -> tuple[int, str]:
        """Status and body, below the secret path."""
        response = self.open(method, f"/{self.guard.secret_path}{path}", headers, body)
        with response:
            return response.status, response.read().decode()


@contextmanager
def served(
    see: Callable[[], Picture],
    deeds: Deeds | None = None,
    seconds: float = 0.05,
    ends: ExitStack | None = None,
    timeouts: Timeouts | None = None,
) -> Iterator[Served]:
    """A dashboard that looks with ``see`` every so many ``seconds``. Its end is waited for by ``ends``, or at once."""
    deeds = deeds or Deeds()
    with ExitStack() as own:
        ends = ends or own
        listener = ends.enter_context(live.bind(0))
        port = listener.getsockname()[1]
        one = Served(port, Guard(port), deeds)
        started, stops = threading.Event(), []

        async def look() -> Picture:
            one.looks += 1
            return see()

        async def main() -> None:
            loop = asyncio.get_running_loop()

            def told(stop: Callable[[], None]) -> None:
                stops.append(lambda: loop.call_soon_threadsafe(stop))
                started.set()

            dashboard = Dashboard(Watch(look, seconds), cast(Actions, deeds), timeouts)
            await live.serve(listener, one.guard, dashboard, told)

        thread = threading.Thread(target=asyncio.run, args=[main()])
        thread.start()
        assert started.wait(SECONDS)
        try:
            yield one
        finally:
            stops[0]()
            ends.callback(ended, thread)


def ended(thread: threading.Thread) -> None:
    """Wait for a thread's end."""
    thread.join(SECONDS)
    assert not thread.is_alive()
