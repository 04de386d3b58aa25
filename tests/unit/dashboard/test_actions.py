from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from portchain.dashboard.actions import Actions
from portchain.dashboard.programs import MAX_MESSAGE, InGuest, Program, ProgramError, decoded_output, from_engine, run
from portchain.dashboard.pseudo_terminal import OnTerminal
from portchain.dashboard.terminal_screen import Size
from portchain.linux import service_manager

IDENTITY = "0123456789ab"
STREAM = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
EXEC = "e" * 64


class Engine:
    """An engine on a socket, that gives each request the next of ``answers`` for its path, and notes them all."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, length = head.split("\r\n")[0], head.lower().partition("content-length: ")[2].split("\r\n")[0]
        body = await reader.readexactly(int(length or 0))
        self.asked.append(f"{line.removesuffix(' HTTP/1.1')} {body.decode()}".strip())
        answer = self.answers[line.split()[1]]
        writer.write(answer.encode("latin-1"))
        if answer.startswith("HTTP/1.1 101"):
            writer.write(b"said " + await reader.readexactly(3))
        writer.close()


def answer(status: str, value: Any = None) -> str:
    body = "" if value is None else json.dumps(value)
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}"


def asking(path: Path, answers: dict[str, str], body: Callable[[Actions, Engine], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        engine = Engine(answers)
        (path / "guest").mkdir()
        async with asyncio.timeout(10), await asyncio.start_unix_server(engine.serve, path / "guest/docker.sock"):
            return await body(Actions("guest"), engine)

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(service_manager, "RUN", tmp_path)
    return tmp_path


@pytest.mark.parametrize("identity", ["", "nginx", "../../x", "0123456789ab/../x", "0123456789a", "0" * 65, "é" * 12])
def test_only_ids_name_containers(identity: str) -> None:
    actions = Actions("guest")
    for call in (
        actions.container(identity, "stop"),
        actions.container_log(identity),
        actions.container_shell(identity, Size()),
    ):
        with pytest.raises(ProgramError, match="no container's id"):
            asyncio.run(call)


@pytest.mark.parametrize("name", ["", "-x", "a b", "a;reboot", "$(reboot)", "a\nb", "../x", "a'b"])
def test_no_words_of_the_shell_name_services(name: str) -> None:
    actions = Actions("guest")
    for call in (actions.restart_service(name), actions.service_log(name), actions.service_shell(name, Size())):
        with pytest.raises(ProgramError, match="no service's name"):
            asyncio.run(call)


@pytest.mark.parametrize("action", ["remove", "../x", "", "kill", "exec"])
def test_no_other_action(action: str) -> None:
    with pytest.raises(ProgramError, match="can be told to start, stop"):
        asyncio.run(Actions("guest").container(IDENTITY, action))


def test_the_engines_refusal_is_told(run_dir: Path) -> None:
    async def body(actions: Actions, _engine: Engine) -> None:
        await actions.container(IDENTITY, "start")

    answers = {f"/containers/{IDENTITY}/start": answer("409 Conflict", {"message": "port 80 is taken"})}
    with pytest.raises(ProgramError, match=r"guest: the engine: port 80 is taken"):
        asking(run_dir, answers, body)


def test_an_engine_that_is_away_is_told() -> None:
    with pytest.raises(ProgramError, match=r"the engine: .*docker\.sock"):
        asyncio.run(Actions("guest").container(IDENTITY, "start"))


async def printed(program: Program) -> str:
    try:
        return "".join([piece async for piece in decoded_output(program)])
    finally:
        await program.end()


def test_a_shell_is_made_typed_into_read_and_looked_after(run_dir: Path) -> None:
    async def body(actions: Actions, engine: Engine) -> tuple[str, list[str]]:
        program = await actions.container_shell(IDENTITY, Size(100, 30))
        await program.resize(Size(120, 40))
        await program.write(b"ls\n")
        return await printed(program), engine.asked

    answers = {
        f"/containers/{IDENTITY}/exec": answer("201 Created", {"Id": EXEC}),
        f"/exec/{EXEC}/start": STREAM,
        f"/exec/{EXEC}/resize?h=30&w=100": answer("200 OK"),
        f"/exec/{EXEC}/resize?h=40&w=120": answer("200 OK"),
        f"/exec/{EXEC}/json": answer("200 OK", {"Running": False, "Pid": 77}),
    }
    said, asked = asking(run_dir, answers, body)
    assert said == "said ls\n"
    assert [line.split()[1] for line in asked] == [
        f"/containers/{IDENTITY}/exec",
        f"/exec/{EXEC}/start",
        f"/exec/{EXEC}/resize?h=30&w=100",
        f"/exec/{EXEC}/resize?h=40&w=120",
        f"/exec/{EXEC}/json",
    ]
    assert '"Tty": true' in asked[0]


def test_a_shell_that_ended_before_it_had_a_size_says_why(run_dir: Path) -> None:
    async def body(actions: Actions, _engine: Engine) -> str:
        program = await actions.container_shell(IDENTITY, Size())
        await program.write(b"no!")
        return await printed(program)

    answers = {
        f"/containers/{IDENTITY}/exec": answer("201 Created", {"Id": EXEC}),
        f"/exec/{EXEC}/start": STREAM,
        f"/exec/{EXEC}/resize?h=24&w=80": answer("500 Internal Server Error", {"message": "no running process"}),
        f"/exec/{EXEC}/json": answer("200 OK", {"Running": False}),
    }
    assert asking(run_dir, answers, body) == "said no!"


@pytest.mark.parametrize("told", [{}, {"Id": "../x"}, [], None])
def test_a_shell_that_was_not_made_is_told(run_dir: Path, told: Any) -> None:
    async def body(actions: Actions, _engine: Engine) -> None:
        await actions.container_shell(IDENTITY, Size())

    with pytest.raises(ProgramError, match="made no program"):
        asking(run_dir, {f"/containers/{IDENTITY}/exec": answer("201 Created", told)}, body)


@pytest.mark.parametrize(
    ("tty", "sent"), [(True, "as it is\n"), (False, "\1\0\0\0\0\0\0\x05as it\2\0\0\0\0\0\0\4 is\n")]
)
def test_a_log_is_read_as_its_container_prints(run_dir: Path, tty: bool, sent: str) -> None:
    async def body(actions: Actions, _engine: Engine) -> str:
        return await printed(await actions.container_log(IDENTITY))

    answers = {
        f"/containers/{IDENTITY}/json": answer("200 OK", {"Config": {"Tty": tty}}),
        f"/containers/{IDENTITY}/logs?stdout=1&stderr=1&follow=1&tail=500": f"HTTP/1.1 200 OK\r\n\r\n{sent}",
    }
    assert asking(run_dir, answers, body) == "as it is\n"


@pytest.mark.parametrize("sent", ["", "nonsense\r\n\r\n", "HTTP/1.1 500 Odd\r\nContent-Length: 3\r\n\r\nodd"])
def test_a_stream_that_does_not_begin_is_told(run_dir: Path, sent: str) -> None:
    async def body(_actions: Actions, _engine: Engine) -> None:
        await from_engine(str(run_dir / "guest/docker.sock"), "/x")

    with pytest.raises(ProgramError, match=r"^guest: the engine"):
        asking(run_dir, {"/x": sent}, body)


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ssh that runs the command here."""
    program = tmp_path / "ssh"
    program.write_text('#!/bin/sh\nwhile [ "$1" != guest ]; do shift; done\nshift\nexec sh -c "$*"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


@pytest.mark.usefixtures("ssh")
def test_a_program_in_the_guest_is_ended_with_what_ends_it() -> None:
    ended = []

    async def at_end() -> None:
        ended.append(True)

    async def main() -> None:
        program = await InGuest.start("guest", "echo begun; cat", at_end)
        output = program.output()
        assert await anext(output) == b"begun\n"
        await program.write(b"typed\n")
        assert await anext(output) == b"typed\n"
        await program.end()
        assert [piece async for piece in output] == []

    asyncio.run(asyncio.wait_for(main(), 20))
    assert ended == [True]


@pytest.mark.usefixtures("ssh")
def test_a_program_on_a_terminal_has_its_size_and_ends_with_it() -> None:
    async def main() -> str:
        command = "stty sane -echo; stty size; read line; stty size; echo $line"
        program = await OnTerminal.open("guest", command, Size(100, 30), nothing)
        output, said = program.output(), ""
        while not said.endswith("\n"):
            said += (await anext(output)).decode()
        await program.resize(Size(120, 40))
        await program.write(b"typed\r")
        said += "".join([piece.decode() async for piece in output])
        await program.end()
        return said

    async def nothing() -> None:
        pass

    assert asyncio.run(asyncio.wait_for(main(), 20)) == "30 100\r\n40 120\r\ntyped\r\n"


@pytest.mark.usefixtures("ssh")
def test_keys_that_come_before_the_program_does_are_passed_on_and_nothing_else_is_done_with_them() -> None:
    keys = b"a\x03\x04\x7f\x1a\x11\r~."

    async def main() -> str:
        program = await OnTerminal.open("guest", f"head -c {len(keys)} | od -A n -c", Size(), nothing)
        await program.write(keys)
        said = "".join([piece.decode() async for piece in program.output()])
        await program.end()
        return said

    async def nothing() -> None:
        pass

    said = asyncio.run(asyncio.wait_for(main(), 20))
    assert said.split() == ["a", "003", "004", "177", "032", "021", "\\r", "~", "."]


@pytest.mark.usefixtures("ssh")
def test_a_terminal_that_takes_nothing_more_is_waited_for() -> None:
    async def main() -> None:
        program = await OnTerminal.open("guest", "stty raw; exec sleep 60", Size(), nothing)
        output = program.output()
        reading = asyncio.ensure_future(anext(output, b""))
        try:
            async with asyncio.timeout(0.3):
                await program.write(b"x" * 1_000_000)
        finally:
            reading.cancel()
            await program.end()

    async def nothing() -> None:
        pass

    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.usefixtures("ssh")
def test_what_does_not_end_in_the_guest_is_not_waited_for() -> None:
    assert asyncio.run(run("guest", "echo out; echo err >&2; exit 3")) == (3, "out\nerr\n")
    assert asyncio.run(run("guest", "yes | head -c 1000000")) == (0, "y\n" * (MAX_MESSAGE // 2))
    with pytest.raises(ProgramError, match=r"guest guest: .* not done after 0\.1 s"):
        asyncio.run(run("guest", "exec sleep 60", 0.1))
