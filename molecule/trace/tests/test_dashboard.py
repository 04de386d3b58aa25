"""The dashboard of a real guest, in a real browser."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest
from browsing import browser, dashboard, page
from playwright.sync_api import Browser, Locator, Page, expect
from testinfra.host import Host

from support.waiting import eventually

__all__ = ("browser", "page")

QUIET = "sntpc"  # a service that nothing of the tests needs, and that ends when it is told to


@pytest.fixture(scope="module")
def url(guest_name: str) -> Iterator[str]:
    """The address of the guest's dashboard."""
    with dashboard(guest_name) as address:
        yield address


@pytest.fixture
def board(page: Page, url: str) -> Page:
    """The page, following."""
    page.goto(url)
    expect(page.locator("#link")).to_have_text("live")
    return page


def row(board: Page, port: int) -> Locator:
    """A port's row in the table of traffic."""
    return board.locator("#live-traffic tr", has=board.locator(f"code:text-is('*:{port}')"))


def test_a_container_appears_and_goes_without_reload(board: Page, served: Callable[..., Any]) -> None:
    board.evaluate("window.same = true")
    container, port = served()
    expect(row(board, port)).to_contain_text(container.name)
    expect(board.locator("#picture")).to_contain_text(str(port))
    expect(board.get_by_role("button", name=f"Stop {container.name}", exact=True)).to_be_visible()
    container.remove(force=True)
    expect(row(board, port)).to_have_count(0)
    expect(board.locator("#live-containers")).not_to_contain_text(container.name)
    assert board.evaluate("window.same")


def test_traffic_moves_at_every_hop(board: Page, served: Callable[..., Any]) -> None:
    _, port = served()
    cells = row(board, port).locator("td")
    expect(cells).to_have_count(10)
    names = [one.lower() for one in board.locator("#live-traffic th").all_inner_texts()]

    def counted() -> dict[str, int]:
        texts = cells.all_inner_texts()
        return {name: int(text.split()[0]) for name, text in zip(names[2:], texts[2:], strict=True)}

    before = counted()
    for _ in range(5):
        subprocess.run(["curl", "-s", "-m", "5", f"http://127.0.0.1:{port}/"], check=False, capture_output=True)
    moving = ("connections", "dnat packets", "bridge out", "veth in", "veth out")
    eventually(lambda: all(counted()[name] >= before[name] + 5 for name in moving), "every counter by 5", 15)


def test_a_disconnected_network_turns_its_chain_red(
    board: Page, served: Callable[..., Any], engine: docker.DockerClient
) -> None:
    container, port = served()
    expect(row(board, port)).not_to_have_class(re.compile("broken"))
    engine.networks.get("bridge").disconnect(container)
    expect(row(board, port)).to_have_class(re.compile("broken"))
    expect(board.locator("#verdicts")).to_contain_text("network-disconnected")
    expect(board.locator("#told")).to_contain_text(f"broken: *:{port}")
    engine.networks.get("bridge").connect(container)
    expect(row(board, port)).not_to_have_class(re.compile("broken"))


def test_buttons_stop_and_start_a_container(board: Page, served: Callable[..., Any]) -> None:
    container, port = served()
    board.get_by_role("button", name=f"Stop {container.name}", exact=True).click()
    expect(board.get_by_role("button", name=f"Start {container.name}", exact=True)).to_be_visible()
    container.reload()
    assert container.status == "exited"
    board.get_by_role("button", name=f"Start {container.name}", exact=True).click()
    expect(board.locator("#told")).to_have_text(f"Start {container.name}: done")
    expect(row(board, port)).to_have_count(1)
    container.reload()
    assert container.status == "running"


def test_a_port_that_is_taken_meanwhile_is_told(url: str, browser: Browser, served: Callable[..., Any]) -> None:
    container, port = served()
    container.stop()
    other = browser.new_page()
    other.goto(url)
    with subprocess.Popen(["python3", "-m", "http.server", "--bind", "0.0.0.0", str(port)]) as taking:
        eventually(lambda: subprocess.run(["curl", "-s", f"127.0.0.1:{port}"], check=False).returncode == 0, "a server")
        other.get_by_role("button", name=f"Start {container.name}", exact=True).click()
        expect(other.locator("#told.bad")).to_contain_text(str(port))
        taking.kill()
    other.close()


def test_a_containers_log_is_followed(board: Page, probe: Callable[..., Any]) -> None:
    script = "echo begun; n=0; while sleep 0.05; do n=$((n + 1)); printf '\\033[31mline %s\\033[0m\\n' $n; done"
    container = probe(entrypoint=["sh", "-c", script])
    board.get_by_role("button", name=f"Logs of {container.name}", exact=True).click()
    log = board.get_by_role("log")
    expect(log).to_contain_text("begun\nline 1\nline 2\n")
    expect(log).to_contain_text("line 20\n")
    container.kill()
    expect(log).to_contain_text("[the log has ended]")


def test_a_log_of_a_terminal_is_followed(board: Page, probe: Callable[..., Any]) -> None:
    container = probe(entrypoint=["sh", "-c", "echo begun; sleep 60"], tty=True)
    board.get_by_role("button", name=f"Logs of {container.name}", exact=True).click()
    expect(board.get_by_role("log")).to_have_text("begun\n")


def shell(board: Page, whom: str, command: str) -> Locator:
    """A shell in which a command was typed: what is seen in it."""
    board.get_by_role("button", name=f"Shell of {whom}", exact=True).click()
    board.get_by_label("Terminal", exact=True).press_sequentially(f"{command}\n")
    return board.get_by_role("log")


def test_a_shell_in_a_container_ends_with_its_page(board: Page, served: Callable[..., Any], host: Host) -> None:
    container, _ = served()
    seen = shell(board, container.name, "clear; echo $((6 * 7)); hostname; cd /tmp; pwd; tty; sleep 4321")
    expect(seen).to_contain_text(f"42\n{container.short_id}\n/tmp\n/dev/pts/")
    eventually(lambda: host.run("pgrep -f 'sleep [4]321'").rc == 0, "the sleep")
    board.goto("about:blank")
    eventually(lambda: host.run("pgrep -f 'sleep [4]321'").rc == 1, "the shell's end")
    eventually(lambda: "sh -c" not in host.check_output("ps"), "nothing left of the shell")


def test_a_shell_in_a_service_ends_with_its_page(board: Page, host: Host) -> None:
    seen = shell(board, "docker", "echo $((6 * 7)); ls -d /usr/local/bin/dockerd; tty; sleep 4322")
    expect(seen).to_contain_text("42\n/usr/local/bin/dockerd\n/dev/pts/")
    eventually(lambda: host.run("pgrep -f 'sleep [4]322'").rc == 0, "the sleep")
    board.get_by_role("button", name="Close", exact=True).click()
    eventually(lambda: host.run("pgrep -f 'sleep [4]322'").rc == 1, "the shell's end")


def test_what_is_typed_before_the_shell_is_there_reaches_it_and_is_echoed_once(board: Page) -> None:
    seen = shell(board, "docker", "echo $((6 * 7)); tty; exit")
    expect(seen).to_contain_text("42\n/dev/pts/")
    expect(seen).to_contain_text("[the shell has ended]")
    echoed, _, _ = seen.inner_text().replace("# ", "").partition("42")  # the prompt may come between the keys
    assert echoed.count("exit") == 1


def test_a_container_without_a_shell_says_so(board: Page, served: Callable[..., Any]) -> None:
    container, _ = served()
    assert container.exec_run("rm /usr/bin/sh").exit_code == 0
    board.get_by_role("button", name=f"Shell of {container.name}", exact=True).click()
    expect(board.get_by_role("log")).to_contain_text("executable file not found")


def test_a_services_log_is_followed_and_it_is_restarted(board: Page, host: Host) -> None:
    def pid() -> str:
        rows = [line.split() for line in host.check_output("ctr -n services.linuxkit tasks ls").splitlines()]
        return next((words[1] for words in rows if words[0] == QUIET), "")

    before = pid()
    board.get_by_role("button", name=f"Restart {QUIET}", exact=True).click()
    expect(board.locator("#told")).to_contain_text(f"Restart {QUIET}: done")
    eventually(lambda: pid() not in ("", before), "another process", 20)
    expect(board.locator(f"#live-service-{QUIET}")).to_have_class("running")
    board.get_by_role("button", name="Logs of docker", exact=True).click()
    expect(board.get_by_role("log")).to_contain_text("dockerd")
