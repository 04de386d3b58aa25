"""The documentation: links that lead somewhere, pages that are generated, pages of a readable length."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portchain.linuxkit import description, host_sockets
from portchain.linuxkit.images import Images

PROJECT = Path(__file__).parents[2]
# Read in the built collection, whose roles are at its top.
COLLECTION_PAGE = PROJECT / "collection/README.md"
GENERATED = {PROJECT / "docs/reference/commands.md", PROJECT / "docs/reference/variables.md"}
LONGEST = 265  # lines
CODE_BLOCK = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


def pages() -> list[Path]:
    """Every Markdown file of the project that git knows, or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    return [path for name in done.stdout.splitlines() if (path := PROJECT / name).exists()]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = HEADING.findall(CODE_BLOCK.sub("", page.read_text()))
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower().strip() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def dead_links(page: Path) -> Iterator[str]:
    """The relative links and images of a page whose file or anchor is not there."""
    text = CODE.sub("", CODE_BLOCK.sub("", page.read_text()))
    folder = PROJECT if page == COLLECTION_PAGE else page.parent
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (folder / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert list(dead_links(page)) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page\n[a](#a-page) [b](#b) ![c](c.png) [d](https://d.example/) `[e](e)`\n```\n[f](f)\n```\n")
    assert list(dead_links(page)) == ["#b", "c.png"]


def test_every_page_is_led_to() -> None:
    """Each page and picture of docs/ has a link from another page."""
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in pages()
        for link in LINK.findall(page.read_text())
        if not re.match(r"[a-z]+:|#", link)
    }
    documents = [path for pattern in ("*.md", "*.png", "*.svg") for path in (PROJECT / "docs").rglob(pattern)]
    assert [str(path.relative_to(PROJECT)) for path in documents if path not in linked] == []


def test_no_page_is_too_long() -> None:
    lengths = {page: len(page.read_text().splitlines()) for page in pages() if page not in GENERATED}
    assert {str(page): length for page, length in lengths.items() if length > LONGEST} == {}


def test_the_page_of_commands_is_what_the_parser_says() -> None:
    command = [sys.executable, str(PROJECT / "scripts/write-commands"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_page_of_sockets_has_every_socket_of_a_guest() -> None:
    guest = description.read_default(
        Images(PROJECT / "roles/guest_services/services", ["binfmt", "docker", "services"])
    )
    words = [service.options.get("annotations", {}) for service in guest.containers["services"]]
    offered = {name for own in words for name in host_sockets.parse(own.get(host_sockets.ANNOTATION, ""))}
    assert "engine" in offered
    rows = re.findall(r"^\| `([\w-]+)\.sock` \|", (PROJECT / "docs/reference/sockets.md").read_text(), re.MULTILINE)
    assert {"control", "docker", *offered} <= set(rows)


def test_the_page_of_verdicts_has_every_code() -> None:
    """The codes that the source gives to ``broken`` and ``Verdict`` are documented, and no others."""
    argument = {"broken": 1, "Verdict": 0}
    given: set[str] = set()
    texts: set[str] = set()
    for path in (PROJECT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in argument:
                code = node.args[argument[node.func.id]]
                given |= {code.value} if isinstance(code, ast.Constant) else set()
    page = (PROJECT / "docs/reference/verdicts.md").read_text()
    documented = set(re.findall(r"^\| `([a-z0-9-]+)` \|", page, re.MULTILINE))
    assert len(given) > 20
    assert given <= documented <= texts


def missing_tests(row: str) -> Iterator[str]:
    """The tests that a row names and that are not there; the row itself if it names none."""
    names = re.findall(r"`([\w/.]*\.py)?::(test_\w+)`", row)
    file = ""
    for named_file, name in names:
        file = named_file or file
        path = PROJECT / file
        if not path.is_file() or not re.search(rf"^(?:async )?def {name}\(", path.read_text(), re.MULTILINE):
            yield f"{file}::{name}"
    if not names:
        yield row


def test_every_attack_has_a_test_that_plays_it() -> None:
    table = (PROJECT / "SECURITY.md").read_text().partition("| who | tries |")[2].partition("\n\n")[0]
    rows = table.splitlines()[2:]
    assert len(rows) > 15
    assert [name for row in rows for name in missing_tests(row)] == []
