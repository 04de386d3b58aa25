#!/usr/bin/env python3
"""Make docs/images of a running guest: report and dashboard with the seed's six ports, report with sixty."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import docker
from browsing import dashboard, launched
from docker.models.containers import Container
from docker.models.networks import Network
from playwright.sync_api import Browser, expect

IMAGES = Path(__file__).resolve().parents[2] / "docs/images"
# Three ports each, from 9001 on; with the seed's six they are sixty.
CONTAINERS = {
    "bridge": ("login", "images"),
    "front": ("web", "shop", "cart", "search"),
    "data": ("orders", "stock", "users", "mail", "queue", "cache"),
    "metrics": ("prometheus", "grafana", "loki", "alerts", "tracer", "exporter"),
}
SERVED = 8080
WIDTH, MARGIN = 1280, 20
COMMAND = "ls -l --color / /usr/sbin/nginx; grep --color title /usr/share/nginx/html/index.html\n"
SETTLED = 500  # milliseconds
PAUSED, DISCONNECTED, FILTERED = "cache", "mail", "search"


def run(*words: str, fine: tuple[int, ...] = (0,)) -> None:
    """Run a command of portchain; raise RuntimeError unless it ends as is ``fine``."""
    done = subprocess.run(["portchain", *words], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode not in fine:
        raise RuntimeError(f"portchain {' '.join(words)}: {done.stderr.strip()}")


@contextmanager
def sixty(engine: docker.DockerClient, guest: str) -> Iterator[None]:
    """The guest with sixty ports, nine of them broken in three ways; afterwards as it was."""
    image = engine.containers.get("nginx").image.tags[0]
    ports = iter(range(9001, 9100))
    with ExitStack() as stack:
        for network, names in CONTAINERS.items():
            if network != "bridge":
                made: Network = engine.networks.create(network)
                stack.callback(made.remove)
            for name in names:
                published = {f"{SERVED}/tcp": [next(ports) for _ in range(3)]}
                box: Container = engine.containers.run(image, name=name, network=network, ports=published, detach=True)
                stack.callback(box.remove, force=True)
        engine.containers.get(PAUSED).pause()
        engine.networks.get("data").disconnect(DISCONNECTED)
        filtered = engine.containers.get(FILTERED).attrs["NetworkSettings"]["Networks"]["front"]["IPAddress"]
        rule = ("OUTPUT", "-d", filtered, "-j", "DROP")
        run("shell", "--guest", guest, "iptables", "-I", *rule)
        stack.callback(run, "shell", "--guest", guest, "iptables", "-D", *rule)
        yield


def photograph(browser: Browser, guest: str, name: str, *schemes: str) -> None:
    """The report of the guest as it is now, down to the end of its picture."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "report.html")
        run("report", "--guest", guest, "--output", str(file), fine=(0, 1))
        for scheme in schemes:
            view = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
            view.goto(file.as_uri())
            end = view.evaluate("document.getElementById('picture').getBoundingClientRect().bottom")
            view.set_viewport_size({"width": WIDTH, "height": round(end) + MARGIN})
            view.screenshot(path=IMAGES / f"report-{name}-{scheme}.png")
            view.close()


def photograph_dashboard(browser: Browser, guest: str, container: Container) -> None:
    """Follow a paused container, and have a shell of it once it goes on."""
    with dashboard(guest) as url:
        view = browser.new_page(viewport={"width": WIDTH, "height": 1000}, color_scheme="dark")
        view.goto(url)
        expect(view.locator("#live-traffic tr.broken")).to_have_count(0)
        container.pause()
        expect(view.locator("#live-traffic tr.broken")).to_have_count(1)
        view.screenshot(path=IMAGES / "dashboard-dark.png")
        container.unpause()
        view.get_by_role("button", name=f"Shell of {container.name}", exact=True).click()
        expect(view.get_by_role("log")).to_contain_text("#")
        view.get_by_label("Terminal", exact=True).press_sequentially(COMMAND)
        expect(view.get_by_role("log")).to_contain_text("portchain: the chain answered")
        view.wait_for_timeout(SETTLED)
        view.locator("dialog").screenshot(path=IMAGES / "dashboard-shell.png")
        view.close()


def main(guest: str) -> None:
    """Make them."""
    engine = docker.DockerClient(base_url=f"unix:///run/portchain/{guest}/docker.sock", timeout=60)
    with launched() as browser:
        photograph(browser, guest, "seed", "light")
        photograph_dashboard(browser, guest, engine.containers.get("nginx"))
        with sixty(engine, guest):
            photograph(browser, guest, "60", "dark")


if __name__ == "__main__":
    main(sys.argv[1])
