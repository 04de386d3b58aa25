"""The collection that is built from the project: installed into an empty project, it works by itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from portchain.host.install import digest

PROJECT = Path(__file__).parents[2]
NAME = "portchain.portchain"
INVENTORY: dict[str, Any] = {
    "machines": {
        "hosts": {"localhost": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}},
    },
    "guests": {
        "hosts": {"nobody": None},
        "vars": {
            "portchain_guest": "{{ inventory_hostname }}",
            "portchain_machine": "localhost",
            "portchain_owner": "root",
            "guest_uid_base": 9000000,
            "workloads_containers": [{"name": "web", "image": "portchain/nginx", "ports": ["127.0.0.1:18077:8080"]}],
        },
    },
}


class Empty:
    """A project with nothing but an inventory and the collection."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "ansible.cfg").touch()
        (folder / "inventory.yml").write_text(yaml.safe_dump(INVENTORY))
        self.installed = folder / "collections/ansible_collections" / NAME.replace(".", "/")

    def run(self, program: str, *words: str) -> str:
        """Run a program of Ansible's that succeeds; returns what it prints."""
        done = self.try_to_run(program, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def try_to_run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program of Ansible's, whatever comes of it."""
        known = f"{self.folder}/collections:{PROJECT}/.ansible/collections"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        environment |= {"ANSIBLE_CONFIG": f"{self.folder}/ansible.cfg", "ANSIBLE_COLLECTIONS_PATH": known}
        command = [str(Path(sys.executable).with_name(program)), *words]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    def play(self, *tasks: dict[str, Any]) -> str:
        """Run tasks on this machine; returns what is printed."""
        play = [{"name": "Try", "hosts": "localhost", "gather_facts": False, "tasks": list(tasks)}]
        (self.folder / "play.yml").write_text(yaml.safe_dump(play))
        return self.run("ansible-playbook", "--inventory", "inventory.yml", "play.yml")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Empty:
    """An empty project into which the file that was built is installed."""
    project = Empty(tmp_path_factory.mktemp("empty"))
    subprocess.run([PROJECT / "scripts/build-collection", project.folder], check=True, timeout=120)
    [built] = project.folder.glob("*.tar.gz")
    project.run("ansible-galaxy", "collection", "install", str(built), "--offline", "-p", "collections")
    return project


def test_it_has_the_packages_version(empty: Empty) -> None:
    found = json.loads((empty.installed / "MANIFEST.json").read_text())["collection_info"]
    assert f'version = "{found["version"]}"' in (PROJECT / "pyproject.toml").read_text()
    assert (found["namespace"], found["license"]) == ("portchain", ["GPL-3.0-or-later"])


def test_its_plugins_have_the_package_from_nowhere_else(empty: Empty) -> None:
    outside = re.compile(r"^\s*(from|import) (ansible\.module_utils\.)?portchain\b", re.MULTILINE)
    plugins = [*empty.installed.glob("plugins/*/*.py"), *empty.installed.glob("plugins/module_utils/**/*.py")]
    assert len(plugins) > 100
    assert [str(plugin) for plugin in plugins if outside.search(plugin.read_text())] == []


def test_all_that_is_to_be_used_is_documented(empty: Empty) -> None:
    modules = [f"{NAME}.{path.stem}" for path in PROJECT.glob("library/*.py")]
    filters = [f"{NAME}.{path.stem}" for path in PROJECT.glob("filter_plugins/*.yml")]
    roles = [f"{NAME}.{path.name}" for path in PROJECT.glob("roles/*")]
    for kind, names in (("module", modules), ("filter", filters), ("role", roles), ("callback", [f"{NAME}.stages"])):
        found = json.loads(empty.run("ansible-doc", "--json", "-t", kind, *names))
        assert sorted(found) == sorted(names)


def test_the_examples_of_the_roles_are_plays(empty: Empty) -> None:
    plays = []
    for page in sorted(empty.installed.glob("roles/*/README.md")):
        [example] = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
        plays += yaml.safe_load(example)
    (empty.folder / "examples.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
    used = {role["role"] for play in plays for role in play["roles"]}
    assert used == {f"{NAME}.{path.name}" for path in PROJECT.glob("roles/*")}
    empty.run("ansible-playbook", "--inventory", "inventory.yml", "--syntax-check", "examples.yml")


def test_a_module_an_action_and_a_filter_work_in_a_play(empty: Empty) -> None:
    package = empty.installed / "plugins/module_utils/portchain"
    chains = f"[{{'name': 'web', 'ports': ['8080:80']}}] | {NAME}.plan_chains"
    said = empty.play(
        {"name": "Install", f"{NAME}.host_source": {"src": str(package), "dest": str(empty.folder / "lib")}},
        {"name": "Build", f"{NAME}.guest_images": {"folder": str(empty.folder), "names": []}},
        {"name": "Plan", "ansible.builtin.assert": {"that": [f"({chains}) | length == 1"]}},
    )
    assert "changed=1 " in said
    assert digest(empty.folder / "lib/portchain") == digest(PROJECT / "src/portchain") != ""


def test_its_images_are_the_projects(empty: Empty) -> None:
    """The same hash of all inputs, links included, so that nothing is built twice."""
    folders = [PROJECT / "roles/guest_image/images", empty.installed / "roles/guest_image/images"]
    names = sorted(path.name for path in folders[0].iterdir())
    for number, folder in enumerate(folders):
        asked = {"folder": str(folder), "names": names, "cache": str(empty.folder / "cache")}
        empty.play(
            {"name": "Foretell", f"{NAME}.guest_images": asked, "check_mode": True, "register": "found"},
            {
                "name": "Keep",
                "ansible.builtin.copy": {"content": "{{ found.images }}", "dest": f"{empty.folder}/{number}.json"},
            },
        )
    ours, theirs = (json.loads((empty.folder / f"{number}.json").read_text()) for number in range(2))
    assert ours == theirs
    assert sorted(ours) == names


@pytest.mark.skipif(os.geteuid() != 0, reason="the preflight looks at the machine as root")
def test_its_playbooks_run_by_name(empty: Empty) -> None:
    """In check mode, for there is no guest whose chains could be whole; the preflight reads the collection's roles."""
    verify = ("--inventory", "inventory.yml", f"{NAME}.site", "--tags", "verify")
    assert " failed=0 " in empty.run("ansible-playbook", *verify, "--check")
    wrong = empty.try_to_run("ansible-playbook", *verify, "--check", "--extra-vars", "guest_memory=lots")
    assert "guest nobody: guest_memory: 'lots' must be a size" in wrong.stdout


def test_its_services_are_the_projects(empty: Empty) -> None:
    """They are rendered with every symlink that the project has."""
    dest = empty.folder / "containers"
    role = empty.installed / "roles/guest_services"
    sets = {name: f"/srv/{name}" for name in ("guest", "services", "docker", "binfmt")}
    words = {"catalogue": str(role / "services"), "sets": sets}
    words |= {"hostname": "nobody", "dest": str(dest)}
    empty.play({"name": "Render", f"{NAME}.service_bundles": words})
    ours = PROJECT / "roles/guest_services/services"
    links = {str(path.relative_to(ours)): path.readlink() for path in ours.rglob("*") if path.is_symlink()}
    assert len(links) == 2
    assert {name: (dest / "services" / name).readlink() for name in links} == links
