"""The dashboard's page in a real browser: it follows the machine, and does what its buttons say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, RLock, Thread
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from portchain.dashboard.page_changes import Picture
from portchain.dashboard.running import AT_ONCE
from portchain.dashboard.view import LivePage
from portchain.trace.judge.chains import trace_all
from portchain.trace.model import Guest, Machine
from support.dashboard_serving import Deeds, Served, served
from support.machines import seed
from support.waiting import eventually


class Changing:
    """The seed's machine, as a test would have it; ``time`` passes with each look, in another thread."""

    def __init__(self) -> None:
        self.machine = seed()
        self.moving = 0  # connections more at each forward with each look
        self._view = LivePage()
        self._lock = RLock()

    @property
    def guest(self) -> Guest:
        assert self.machine.guest
        return self.machine.guest

    def see(self) -> Picture:
        with self._lock:
            self.change(time=self.guest.time + 1)
            self.traffic(self.moving)
            return self._view.draw(self.machine, trace_all(self.machine))

    def change(self, **words: Any) -> None:
        with self._lock:
            self.machine = replace(self.machine, guest=replace(self.guest, **words))

    def state(self, name: str, state: str) -> None:
        """Have a container in another state, without its ports where it does not run."""
        with self._lock:
            box = self.guest.container(name)
            others = [replace(one, state=state) if one is box else one for one in self.guest.containers]
            self.change(containers=tuple(others))

    def traffic(self, count: int) -> None:
        """So many more connections at each forward."""
        with self._lock:
            forwarder = self.machine.host.forwarder
            assert forwarder
            moved = tuple(replace(one, connections=one.connections + count) for one in forwarder.forwards)
            host = replace(self.machine.host, forwarder=replace(forwarder, forwards=moved))
            self.machine = Machine(host, self.machine.guest)


@pytest.fixture
def changing() -> Changing:
    """The machine."""
    return Changing()


@pytest.fixture
def board(changing: Changing) -> Iterator[Served]:
    """Its dashboard; stopped and started containers are so at the next look."""

    def does(what: str) -> None:
        action, identity = what.split()
        if action in ("start", "stop"):
            box = changing.guest.container(identity)
            assert box
            changing.state(box.name, "running" if action == "start" else "exited")

    with served(changing.see, Deeds(does=does), seconds=0.2) as one:
        yield one


@pytest.fixture
def live(board: Served, page: Page) -> Page:
    """The page, entered with the token, following."""
    page.goto(board.guard.url)
    expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("#live-traffic tbody tr")).to_have_count(6)
    return page


def test_the_token_is_gone_from_the_address_and_scripts_see_no_cookie(live: Page, board: Served) -> None:
    assert live.url == f"http://127.0.0.1:{board.port}/{board.guard.secret_path}/"
    assert live.evaluate("document.cookie") == ""
    assert board.guard.token not in live.content()


def test_containers_come_and_go_without_reload(live: Page, changing: Changing) -> None:
    live.evaluate("window.same = true")
    box = changing.guest.containers[0]
    changing.change(containers=(*changing.guest.containers, replace(box, id="f" * 64, name="newcomer", bound=())))
    expect(live.locator("#live-containers")).to_contain_text("newcomer")
    expect(live.locator("#containers")).to_contain_text("newcomer")
    changing.change(containers=changing.guest.containers[:-1])
    expect(live.locator("#live-containers")).not_to_contain_text("newcomer")
    assert live.evaluate("window.same")


def test_traffic_moves(live: Page, changing: Changing) -> None:
    cell = live.locator("#live-traffic tbody tr").first.locator("td").nth(2)
    before = int(cell.inner_text())
    changing.traffic(7)
    expect(cell).to_have_text(str(before + 7))
    changing.moving = 3
    expect(cell).to_contain_text("+3/s")


def test_a_broken_hop_turns_red_and_says_why_aloud(live: Page, changing: Changing) -> None:
    changing.state("nginx", "paused")
    row = live.locator("#live-traffic tr.broken")
    expect(row).to_have_count(1)
    told = live.locator("#told")
    assert told.get_attribute("aria-live") == "assertive"
    expect(told).to_contain_text("broken: *:8080 (nginx)")
    expect(told).to_contain_text("paused")
    expect(live.locator("#verdicts")).to_contain_text("container-paused")
    expect(live.locator("#chains details.broken")).to_have_attribute("open", "")
    changing.state("nginx", "running")
    expect(row).to_have_count(0)
    expect(told).to_contain_text("whole again: *:8080 (nginx)")
    expect(live.locator("#verdicts")).not_to_contain_text("container-paused")


def test_buttons_stop_and_start_by_keyboard(live: Page, board: Served, changing: Changing) -> None:
    box = changing.guest.container("nginx")
    assert box
    stop = live.get_by_role("button", name="Stop nginx", exact=True)
    stop.focus()
    live.keyboard.press("Enter")
    expect(live.get_by_role("button", name="Start nginx", exact=True)).to_be_visible()
    expect(live.locator("#verdicts")).to_contain_text("container-stopped")
    live.get_by_role("button", name="Start nginx", exact=True).click()
    expect(live.get_by_role("button", name="Stop nginx", exact=True)).to_be_visible()
    live.get_by_role("button", name="Restart nginx", exact=True).click()
    expect(live.locator("#told")).to_contain_text("Restart nginx: done")
    assert board.deeds.done == [f"{action} {box.id}" for action in ("stop", "start", "restart")]


def test_a_second_click_does_not_undo_the_first(live: Page, board: Served, changing: Changing) -> None:
    box, begun, may_end = changing.guest.container("nginx"), Event(), Event()
    assert box

    def does(_what: str) -> None:
        changing.state("nginx", "exited")

    async def slowly(identity: str, action: str) -> None:
        board.deeds._do(f"{action} {identity}")
        begun.set()
        await asyncio.to_thread(may_end.wait, 30)

    board.deeds.does = does
    board.deeds.container = slowly
    live.get_by_role("button", name="Stop nginx", exact=True).click()
    assert begun.wait(10)
    start = live.get_by_role("button", name="Start nginx", exact=True)
    expect(start).to_be_disabled()
    may_end.set()
    expect(start).to_be_enabled()
    assert board.deeds.done == [f"stop {box.id}"]


def test_what_was_refused_is_told(browser: Browser, board: Served) -> None:
    board.deeds.refuses = "guest: the engine: port is taken <b>"
    page = browser.new_page()
    page.goto(board.guard.url)
    page.get_by_role("button", name="Stop nginx", exact=True).click()
    expect(page.locator("#told")).to_have_text("Stop nginx: guest: the engine: port is taken <b>")
    page.close()


def test_focus_and_what_is_open_outlive_changes(live: Page, changing: Changing) -> None:
    live.locator("#chains summary").first.click()
    button = live.get_by_role("button", name="Logs of nginx", exact=True)
    button.focus()
    changing.change(containers=tuple(replace(one, status="later") for one in changing.guest.containers))
    changing.traffic(3)
    expect(live.locator("#containers")).to_contain_text("later")
    expect(button).to_be_focused()
    expect(live.locator("#chains details").first).to_have_attribute("open", "")


def test_what_is_looked_for_stays_looked_for(live: Page, changing: Changing) -> None:
    live.locator("#find").fill("nginx")
    expect(live.locator("#live-containers tbody tr:visible")).to_have_count(1)
    changing.state("nginx", "paused")
    expect(live.locator("#live-containers")).to_contain_text("paused")
    expect(live.locator("#live-containers tbody tr:visible")).to_have_count(1)


def test_logs_are_shown_as_text_and_end_with_their_dialog(live: Page, board: Served) -> None:
    live.get_by_role("button", name="Logs of nginx", exact=True).click()
    log = live.get_by_role("log")
    expect(log).to_contain_text("log of")
    live.keyboard.press("Escape")
    expect(log).to_have_count(0)
    assert board.deeds.programs[0].ended.wait(10)


@pytest.fixture
def terminal(live: Page) -> Locator:
    """The keys of a shell that was opened."""
    live.get_by_role("button", name="Shell of nginx", exact=True).click()
    keys = live.get_by_label("Terminal", exact=True)
    expect(keys).to_be_focused()
    expect(live.get_by_role("log")).to_contain_text("shell in")
    return keys


def test_a_shell_echoes_as_text_and_ends_with_its_page(live: Page, board: Served, terminal: Locator) -> None:
    terminal.press_sequentially("<img src=x onerror=window.taken=1>\n")
    expect(live.get_by_role("log")).to_contain_text("<img src=x onerror=window.taken=1>")
    expect(live.locator(".terminal .fg-red")).to_have_count(1)
    assert not live.evaluate("window.taken")
    live.goto("about:blank")
    assert board.deeds.programs[0].ended.wait(10)


def test_keys_arrive_as_a_terminal_sends_them(live: Page, board: Served, terminal: Locator) -> None:
    typed: list[bytes] = []

    async def write(data: bytes) -> None:
        typed.append(data)

    board.deeds.programs[0].write = write  # type: ignore[method-assign]
    for key in ("a", "Control+c", "ArrowUp", "Tab", "Shift+Tab", "Escape", "Alt+b", "Delete", "Backspace", "Enter"):
        terminal.press(key)
    terminal.fill("two\nlines")
    expect(terminal).to_have_value("")
    wanted = b"a\x03\x1b[A\t\x1b[Z\x1b\x1bb\x1b[3~\x7f\rtwo\rlines"
    eventually(lambda: b"".join(typed) == wanted, "every key, in order")
    terminal.press("Shift+Escape")
    expect(terminal).to_have_count(0)
    assert board.deeds.programs[0].ended.wait(10)


def test_no_key_is_lost_while_the_shell_prints(board: Served, terminal: Locator) -> None:
    shell, typed, wanted = board.deeds.programs[0], bytearray(), b"echo $((6 * 7)); ls -d /usr/local/bin"
    echo = shell.write

    async def write(data: bytes) -> None:
        typed.extend(data)
        await echo(b"printed " * (3 * AT_ONCE // 8))

    shell.write = write  # type: ignore[method-assign]
    terminal.press_sequentially(wanted.decode())
    eventually(lambda: len(typed) >= len(wanted), "every key")
    assert typed == wanted


def test_a_shell_fills_its_window_and_follows_its_size(live: Page, board: Served, terminal: Locator) -> None:
    (first,) = board.deeds.programs[0].sizes
    assert 100 < first.columns < 200
    assert 30 < first.lines < 60
    live.set_viewport_size({"width": 700, "height": 500})
    eventually(lambda: len(board.deeds.programs[0].sizes) > 1, "another size")
    last = board.deeds.programs[0].sizes[-1]
    assert last.columns < first.columns
    assert last.lines < first.lines
    terminal.press_sequentially("\n" * last.lines + "the end")
    expect(live.get_by_role("log")).to_contain_text("the end")
    rows = live.locator(".terminal pre > span")
    expect(rows).to_have_count(last.lines + 2)  # two have scrolled off
    expect(rows.last).to_be_in_viewport(ratio=1)
    expect(terminal).to_be_in_viewport()


def test_a_shell_that_is_refused_says_why(browser: Browser, board: Served) -> None:
    board.deeds.refuses_programs = "guest: the engine: it is gone"
    page = browser.new_page()
    page.goto(board.guard.url)
    page.get_by_role("button", name="Shell of nginx", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("guest: the engine: it is gone")
    page.close()


def test_a_dashboard_that_is_gone_is_told(browser: Browser, changing: Changing) -> None:
    page = browser.new_page()
    with served(changing.see) as board:
        page.goto(board.guard.url)
        expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("#link")).to_contain_text("does not answer")
    page.close()


class Stranger(ThreadingHTTPServer):
    """What a container may serve on a port of 127.0.0.1, which for cookies is the same site; notes what comes with."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), StrangersPage)
        self.came: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class StrangersPage(BaseHTTPRequestHandler):
    server: Stranger

    def do_GET(self) -> None:
        self.server.came.append(f"{self.path} {self.headers}")
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b'<link rel="icon" href="data:,"><p>a page of a container</p>')

    def log_message(self, *_words: object) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    """Another server of this machine."""
    with Stranger() as server:
        Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


def test_another_port_learns_nothing_and_reads_and_changes_nothing(
    browser: Browser, board: Served, changing: Changing, stranger: Stranger
) -> None:
    secrets = (board.guard.token, board.guard.session, board.guard.secret_path)
    places = (f"{board.guard.secret_path}/events", f"?token={board.guard.token}")
    context = browser.new_context()
    page = context.new_page()
    page.goto(board.guard.url)
    expect(page.locator("#link")).to_have_text("live")
    page.evaluate("url => { location = url }", stranger.url)
    expect(page.locator("p")).to_have_text("a page of a container")
    assert stranger.came
    assert not [one for one in secrets if one in str(stranger.came)]
    for place in places:
        address = f"http://127.0.0.1:{board.port}/{place}"
        assert page.evaluate("url => fetch(url, {credentials: 'include'}).then(() => 1, () => 0)", address) == 0
    action = (
        f"http://127.0.0.1:{board.port}/{board.guard.secret_path}/containers/{changing.guest.containers[0].id}/stop"
    )
    with page.expect_response(action) as answer:
        page.evaluate(
            """action => {
              const form = Object.assign(document.createElement("form"), { method: "post", action });
              document.body.append(form);
              form.submit();
            }""",
            action,
        )
    assert answer.value.status == 403
    assert board.deeds.done == []
    context.close()


def test_it_is_in_nobodys_frame(browser: Browser, board: Served, stranger: Stranger) -> None:
    page = browser.new_page()
    page.goto(stranger.url)
    page.evaluate(
        "url => document.body.append(Object.assign(document.createElement('iframe'), { src: url }))", board.guard.url
    )
    page.wait_for_function("() => frames.length === 1")
    page.wait_for_timeout(500)
    assert all("portchain" not in frame.content() for frame in page.frames[1:])
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("wide", [1280, 390])
def test_it_fits_its_window(live: Page, theme: Any, wide: int) -> None:
    live.emulate_media(color_scheme=theme)
    live.set_viewport_size({"width": wide, "height": 900})
    assert live.evaluate("document.documentElement.scrollWidth") <= wide
