from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse

import pytest

from portchain.dashboard import app, live, running
from portchain.dashboard.app import Timeouts
from portchain.dashboard.guard import HEADERS
from portchain.dashboard.page_changes import Picture
from portchain.dashboard.terminal_screen import Size
from portchain.dashboard.watch import MAX_WATCHERS
from support.dashboard_serving import SECONDS, Served, served
from support.waiting import eventually

IDENTITY = "0123456789ab"


def picture() -> Picture:
    return Picture({"summary": "as it is"}, page=lambda head: f"<head>{head}</head>")


@pytest.fixture(scope="module")
def ends() -> Iterator[ExitStack]:
    """Waits for the end of all dashboards at once: each takes its time over it."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def board(ends: ExitStack) -> Iterator[Served]:
    with served(picture, ends=ends) as one:
        yield one


def line(response: HTTPResponse) -> str:
    return response.readline().decode()


def test_it_listens_on_the_loopback_alone(board: Served) -> None:
    with socket.socket() as elsewhere:
        elsewhere.settimeout(SECONDS)
        assert elsewhere.connect_ex(("127.0.0.2", board.port)) != 0
    with live.bind(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_the_token_leads_to_the_page(board: Served) -> None:
    with board.open("GET", f"/?token={board.guard.token}", {}) as response:
        assert response.status == 303
        assert response.headers["Location"] == f"/{board.guard.secret_path}/"
        cookie = response.headers["Set-Cookie"]
    assert board.ask("GET", "/", {"Cookie": cookie.split(";", maxsplit=1)[0]})[0] == 200


def test_from_another_sites_link_the_page_comes_in_a_second_step(board: Served) -> None:
    with board.open("GET", f"/?token={board.guard.token}", {"Sec-Fetch-Site": "cross-site"}) as response:
        assert (response.status, response.headers["Refresh"]) == (200, f"0; url=/{board.guard.secret_path}/")
        assert "SameSite=Strict" in response.headers["Set-Cookie"]


@pytest.mark.parametrize("path", ["/", "/events", "/live.js", "/page.css", "/icon.svg", "/nothing"])
def test_nothing_is_there_without_token_or_cookie(board: Served, path: str) -> None:
    assert board.ask("GET", path, {})[0] == 401


def test_a_name_that_was_made_to_lead_here_is_refused(board: Served) -> None:
    assert board.ask("GET", "/", {**board.cookie, "Host": f"rebound.example:{board.port}"})[0] == 421


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/live.js", 200), ("/nothing", 404), ("/events/..", 404)])
def test_every_answer_keeps_the_browser_to_it(board: Served, path: str, status: int) -> None:
    with board.open("GET", f"/{board.guard.secret_path}{path}", board.cookie) as response:
        assert response.status == status
        assert {name: response.headers[name] for name in HEADERS} == HEADERS
        assert not [name for name in response.headers if name.lower().startswith("access-control")]


def test_a_refusal_has_the_same_headers(board: Served) -> None:
    with board.open("GET", "/", {}) as response:
        assert {name: response.headers[name] for name in HEADERS} == HEADERS


def test_the_policy_forbids_what_is_not_the_dashboards_own() -> None:
    assert "default-src 'none'" in HEADERS["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in HEADERS["Content-Security-Policy"]
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    expected = {"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    assert HEADERS.items() >= (expected | {"X-Content-Type-Options": "nosniff"}).items()


@pytest.mark.parametrize("action", ["start", "stop", "restart"])
def test_the_page_can_start_and_stop(board: Served, action: str) -> None:
    assert board.ask("POST", f"/containers/{IDENTITY}/{action}", board.own) == (204, "")
    assert board.deeds.done == [f"{action} {IDENTITY}"]


def test_the_page_can_restart_a_service(board: Served) -> None:
    assert board.ask("POST", "/services/socks/restart", board.own) == (204, "")
    assert board.deeds.done == ["restart socks"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://attacker.example", "X-Portchain": "1"},
        {"Origin": "null", "Content-Type": "application/x-www-form-urlencoded"},
        {"Sec-Fetch-Site": "cross-site", "X-Portchain": "1"},
        {},
    ],
)
def test_another_sites_form_changes_nothing(board: Served, headers: dict[str, str]) -> None:
    assert board.ask("POST", f"/containers/{IDENTITY}/stop", board.cookie | headers, "a=1")[0] == 403
    assert board.deeds.done == []


def test_a_link_changes_nothing(board: Served) -> None:
    assert board.ask("GET", f"/containers/{IDENTITY}/stop", board.own)[0] == 405
    assert board.deeds.done == []


def test_what_goes_wrong_is_told(board: Served) -> None:
    board.deeds.refuses = "guest: the engine: no such container"
    status, body = board.ask("POST", f"/containers/{IDENTITY}/start", board.own)
    assert (status, json.loads(body)) == (502, {"message": "guest: the engine: no such container"})


def test_changes_come_as_events_and_nobody_looks_afterwards(ends: ExitStack) -> None:
    texts = iter(["one", "two"])
    with served(lambda: Picture({"summary": next(texts, "two")}), seconds=0.02, ends=ends) as board:
        response = board.open("GET", f"/{board.guard.secret_path}/events", board.cookie)
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert json.loads(line(response)[6:])["sections"] == {"summary": "one"}
        assert line(response) == "\n"
        assert json.loads(line(response)[6:])["sections"] == {"summary": "two"}
        response.close()
        looked = -1

        def quiet() -> bool:
            nonlocal looked
            before, looked = looked, board.looks
            time.sleep(0.12)
            return before == looked

        eventually(quiet, "nobody to look any more")


def test_so_many_watch_and_no_more(board: Served) -> None:
    opened = [board.open("GET", f"/{board.guard.secret_path}/events", board.cookie) for _ in range(MAX_WATCHERS)]
    assert all(one.status == 200 for one in opened)
    assert board.ask("GET", "/events", board.cookie)[0] == 503
    opened[0].close()
    eventually(
        lambda: board.open("GET", f"/{board.guard.secret_path}/events", board.cookie).status == 200,
        "room for another watcher",
    )
    for one in opened:
        one.close()


def rows(told: str) -> list[str]:
    """The rows of a terminal that a message tells of."""
    return ["".join(text for text, _ in row) for row in json.loads(told)["rows"].values() if row]


@pytest.mark.parametrize(("place", "name"), [("containers", IDENTITY), ("services", "socks")])
def test_a_shell_says_what_is_typed_and_ends_with_its_page(board: Served, place: str, name: str) -> None:
    response = board.open("POST", f"/{board.guard.secret_path}/{place}/{name}/shell", board.own)
    assert rows(line(response)) == [f"shell in {name}"]
    number = response.headers["X-Program"]
    assert board.ask("POST", f"/programs/{number}", board.own, "héllo\r".encode())[0] == 204
    assert rows(line(response)) == ["héllo"]
    response.close()
    assert board.deeds.programs[0].ended.wait(SECONDS)
    eventually(lambda: board.ask("POST", f"/programs/{number}", board.own, "more\r")[0] == 502, "the program's end")


def test_a_shell_has_the_size_of_its_page(board: Served) -> None:
    small, large = '{"columns": 20, "lines": 3}', '{"columns": 100, "lines": 30}'
    response = board.open("POST", f"/{board.guard.secret_path}/services/socks/shell", board.own, small)
    number = response.headers["X-Program"]
    assert json.loads(line(response))["lines"] == 3
    assert board.ask("POST", f"/programs/{number}/size", board.own, large)[0] == 204
    assert board.ask("POST", f"/programs/{number}/size", board.own, '{"lines": 0}')[0] == 400
    assert board.deeds.programs[0].sizes == [Size(20, 3), Size(100, 30)]
    assert board.ask("POST", f"/programs/{number}", board.own, "x")[0] == 204
    assert json.loads(line(response))["lines"] == 30
    response.close()


def test_nothing_is_typed_into_a_log(board: Served) -> None:
    with board.open("POST", f"/{board.guard.secret_path}/services/socks/logs", board.own) as response:
        status, body = board.ask("POST", f"/programs/{response.headers['X-Program']}", board.own, "x")
        assert (status, "log" in body) == (502, True)
        assert board.ask("POST", f"/programs/{response.headers['X-Program']}/size", board.own)[0] == 502


def test_a_shell_that_ends_says_so(board: Served) -> None:
    with board.open("POST", f"/{board.guard.secret_path}/services/socks/shell", board.own) as response:
        board.ask("POST", f"/programs/{response.headers['X-Program']}", board.own, "exit\r")
        first, last = response.read().decode().splitlines()
        assert (rows(first), rows(last)) == (["shell in socks"], ["[the shell has ended]"])


async def in_silence(_typed: bytes) -> None:
    pass


def test_an_idle_shell_is_ended_unless_something_is_typed(ends: ExitStack) -> None:
    with (
        served(picture, ends=ends, timeouts=Timeouts(idle_shell=1.0)) as board,
        board.open("POST", f"/{board.guard.secret_path}/services/socks/shell", board.own) as response,
    ):
        board.deeds.programs[0].write = in_silence  # or what it prints would keep it
        began = time.monotonic()
        for _ in range(5):
            time.sleep(0.25)
            assert board.ask("POST", f"/programs/{response.headers['X-Program']}", board.own, ".")[0] == 204
        assert "was idle for 1 s" in response.read().decode()
        assert time.monotonic() - began > 2.0


def test_so_many_shells_and_no_more(board: Served) -> None:
    path = f"/{board.guard.secret_path}/services/socks/shell"
    opened = [board.open("POST", path, board.own) for _ in range(running.LIMITS["shell"])]
    assert all(one.status == 200 for one in opened)
    status, body = board.ask("POST", "/services/socks/shell", board.own)
    assert (status, "close one" in body) == (503, True)
    opened[0].close()
    eventually(lambda: board.open("POST", path, board.own).status == 200, "room for another program")
    for one in opened:
        one.close()


@pytest.mark.parametrize(("place", "name"), [("containers", IDENTITY), ("services", "socks")])
def test_logs_are_followed(board: Served, place: str, name: str) -> None:
    response = board.open("POST", f"/{board.guard.secret_path}/{place}/{name}/logs", board.own)
    assert line(response) == f"log of {name}\n"
    response.close()
    assert board.deeds.programs[0].ended.wait(SECONDS)


def test_a_body_has_its_limit(board: Served) -> None:
    with board.open("POST", f"/{board.guard.secret_path}/services/socks/shell", board.own) as response:
        path = f"/programs/{response.headers['X-Program']}"
        assert board.ask("POST", path, board.own, "x" * app.MAX_BODY)[0] == 204
        assert board.ask("POST", path, board.own, "x" * (app.MAX_BODY + 1))[0] == 413


def test_a_body_that_does_not_come_is_not_waited_for(ends: ExitStack) -> None:
    with served(picture, ends=ends, timeouts=Timeouts(body=0.1)) as board:
        headers = {**board.own, "Content-Length": "10"}
        assert board.ask("POST", "/programs/1", headers)[0] == 408


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: 127"])
def test_a_client_that_asks_nothing_is_let_go(ends: ExitStack, sent: bytes) -> None:
    with (
        served(picture, ends=ends, timeouts=Timeouts(idle=0.05)) as board,
        socket.create_connection(("127.0.0.1", board.port), timeout=SECONDS) as client,
    ):
        client.sendall(sent)
        assert client.recv(100) == b""


def test_no_more_connections_than_there_are_to_be(board: Served) -> None:
    opened = [socket.create_connection(("127.0.0.1", board.port)) for _ in range(live.MAX_CONNECTIONS)]
    eventually(lambda: board.ask("GET", "/", board.cookie)[0] == 503, "a page of refusal")
    for one in opened:
        one.close()
    eventually(lambda: board.ask("GET", "/", board.cookie)[0] == 200, "the page")


def test_secrets_are_in_no_log(
    board: Served, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    with board.open("GET", f"/?token={board.guard.token}", {}) as response:
        response.read()
    board.ask("GET", "/nothing", board.cookie)
    with socket.create_connection(("127.0.0.1", board.port)) as client:
        client.sendall(f"GET /?token={board.guard.token}\r\nnonsense\r\n\r\n".encode())
        client.settimeout(SECONDS)
        client.recv(100)
    told = caplog.text + "".join(capfd.readouterr())
    assert not [one for one in (board.guard.token, board.guard.session, board.guard.secret_path) if one in told]


def test_streams_end_with_the_dashboard() -> None:
    with served(picture) as board:
        events = board.open("GET", f"/{board.guard.secret_path}/events", board.cookie)
        shell = board.open("POST", f"/{board.guard.secret_path}/services/socks/shell", board.own)
        line(shell)
        began = time.monotonic()
    assert time.monotonic() - began < 3
    assert board.deeds.programs[0].ended.is_set()
    events.close()
    shell.close()
