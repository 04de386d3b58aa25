"""Every playbook and every tag runs alone: in check mode and for real, where nothing is yet and where all is up."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from portchain.host import guests

from .plays import PROJECT, play, refused, run
from .traces import written

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="a guest is booted by root"),
    pytest.mark.usefixtures("images"),
]
# A guest with something for each stage to do.
VARIABLES = {
    "guest_image_names": ["guest", "services", "docker", "binfmt", "nginx"],
    "docker_networks_networks": [{"name": "tagged", "subnet": "10.99.0.0/24", "gateway": "10.99.0.1"}],
    "workloads_containers": [
        {
            "name": "web",
            "image": "portchain/nginx",
            "networks": [{"name": "tagged", "ipv4_address": "10.99.0.9"}],
            "ports": ["127.0.0.1:18097:8080"],
            "ready": ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080"],
        }
    ],
}
EXTRA = ("--extra-vars", json.dumps(VARIABLES))
STAGES = ("image", "forwarder", "services", "guest", "engine", "networks", "workloads", "verify")
NEED_THE_GUEST = ("engine", "networks", "workloads")
DOWN = "playbooks/teardown.yml"
TRACE = "playbooks/trace.yml"

Run = tuple[str, ...]


def tags_of(playbook: str) -> list[str]:
    """The tags that Ansible lists for a playbook."""
    return sorted(
        {
            tag
            for line in re.findall(r"TAGS: \[(.*)\]", play(playbook, "--list-tags"))
            for tag in line.split(", ")
            if tag not in ("", "always")
        }
    )


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """Each playbook with each of its tags, and without any where it has none but ``always``, which is in every run."""
    playbooks = ["site.yml", *sorted(f"playbooks/{path.name}" for path in (PROJECT / "playbooks").glob("*.yml"))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(playbooks, pool.map(tags_of, playbooks), strict=True))
    assert set(STAGES) == set(found["site.yml"])
    return [
        run for playbook, tags in found.items() for run in [(playbook, "--tags", tag) for tag in tags] or [(playbook,)]
    ]


@pytest.fixture(scope="module", autouse=True)
def afterwards() -> Iterator[None]:
    """Nothing is there before, and nothing is left."""
    play(DOWN)
    yield
    play(DOWN)


def failed(runs: Iterable[Run], *options: str, unchanged: bool) -> dict[Run, str]:
    """The runs that do not succeed, or change something where they should not, each with the end of what was said."""

    def one(words: Run) -> str:
        done = run(*words, *options, *EXTRA)
        good = not done.returncode and (not unchanged or " changed=0 " in done.stdout)
        return "" if good else (done.stdout + done.stderr)[-2000:]

    listed = list(runs)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return {words: said for words, said in zip(listed, pool.map(one, listed), strict=True) if said}


def test_each_runs_alone_in_check_mode_where_nothing_is_yet(runs: list[Run]) -> None:
    """Those of site.yml, which are all that it imports, and of playbooks that it does not."""
    imported = re.findall(r"import_playbook: (\S+)", (PROJECT / "site.yml").read_text())
    assert len(imported) >= len(STAGES) - 2  # services, guest and engine are one playbook's
    chosen = [words for words in runs if words[0] not in (TRACE, *imported)]
    assert {"site.yml", DOWN} < {words[0] for words in chosen}
    before = written()
    assert failed(chosen, "--check", "--diff", unchanged=False) == {}
    assert written() == before


def test_what_needs_the_guest_says_so_where_there_is_none() -> None:
    for tag in NEED_THE_GUEST:
        said = refused("site.yml", "--tags", tag, *EXTRA)
        assert "guest trace: absent, so there is no engine; playbooks/guest.yml starts the guest" in said, tag


def test_one_after_the_other_the_tags_bring_the_guest_up() -> None:
    for tag in STAGES:
        play("site.yml", "--tags", tag, *EXTRA)
    assert guests.status("trace").state == "running"
    assert " changed=0 " in play("site.yml", *EXTRA)


def test_each_changes_nothing_where_all_is_up(runs: list[Run]) -> None:
    """In check mode those of site.yml, which are all the others, and for real the others, each once."""
    site = [words for words in runs if words[0] == "site.yml"]
    others = [words for words in runs if words[0] not in ("site.yml", DOWN)]
    assert failed(site, "--check", "--diff", unchanged=True) == {}
    assert failed(others, unchanged=True) == {}
    assert guests.status("trace").state == "running"
