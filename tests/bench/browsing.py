"""A real Chromium, which must ask for nothing but the page and complain of nothing in it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ALLOWED = ("file:", "data:", "about:", "http://127.0.0.1:", "http://localhost:")
FIRST_SECONDS = 60
PATIENCE = 30_000  # milliseconds, on a machine that is busy

expect.set_options(timeout=PATIENCE)


@contextmanager
def launched() -> Iterator[Browser]:
    """The browser that Debian packages; ``make browser`` installs it."""
    program = shutil.which("chromium")
    assert program, "host: no chromium; make browser"
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=program, args=list(FLAGS), timeout=FIRST_SECONDS * 1000)
        yield running
        running.close()


@contextmanager
def dashboard(guest: str) -> Iterator[str]:
    """The address that ``portchain dashboard`` prints; at the end it is told to end, and must, without a word."""
    command = ["portchain", "dashboard", "--guest", guest, "--no-open", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout and running.stderr
        try:
            yield json.loads(running.stdout.readline())["url"]
        finally:
            running.send_signal(signal.SIGINT)
        assert running.wait(25) == 0
        assert running.stderr.read() == ""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A running one."""
    with launched() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page, 1280 wide. At the end it must have asked nobody else and have said nothing on its console."""
    complaints: list[str] = []

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def asked(request: Request) -> None:
        if not request.url.startswith(ALLOWED):
            complaints.append(f"asked for {request.url}")

    context = browser.new_context(viewport={"width": 1280, "height": 900})
    made = context.new_page()
    made.set_default_timeout(PATIENCE)
    made.on("console", said)
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.on("request", asked)
    yield made
    context.close()
    assert not complaints, complaints
