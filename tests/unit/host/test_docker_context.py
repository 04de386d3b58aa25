from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from portchain.host.docker_context import DockerContexts, NotOursError, check_name, context_metadata

SOCK = Path("/run/portchain/linuxkit/docker.sock")
WANTED = context_metadata("portchain", "linuxkit", SOCK)


def stored(folder: Path, name: str) -> Path:
    return folder / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json"


def test_a_context_is_where_and_what_the_docker_command_reads(tmp_path: Path) -> None:
    contexts = DockerContexts(tmp_path / ".docker", "linuxkit")
    contexts.put({"portchain": WANTED})
    found = json.loads(stored(tmp_path / ".docker", "portchain").read_text())
    assert (found["Name"], found["Endpoints"]["docker"]["Host"]) == ("portchain", f"unix://{SOCK}")
    assert contexts.ours() == {"portchain": WANTED}
    assert DockerContexts(tmp_path / ".docker", "second").ours() == {}


def test_another_name_takes_the_place_of_the_first_and_none_leaves_nothing(tmp_path: Path) -> None:
    contexts = DockerContexts(tmp_path / ".docker", "linuxkit")
    contexts.put({"portchain": WANTED})
    contexts.put({"mine": context_metadata("mine", "linuxkit", SOCK)})
    assert list(contexts.ours()) == ["mine"]
    contexts.put({})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ['{"Name": "portchain", "Metadata": {}}', "nothing that JSON would be"])
def test_a_context_of_anothers_is_left_alone(tmp_path: Path, text: str) -> None:
    path = stored(tmp_path, "portchain")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    contexts = DockerContexts(tmp_path, "linuxkit")
    with pytest.raises(NotOursError, match="not this guest's"):
        contexts.check("portchain")
    contexts.put({})
    assert path.read_text() == text


def test_the_one_in_use_is_left_with_the_rest_of_the_configuration(tmp_path: Path) -> None:
    contexts = DockerContexts(tmp_path, "linuxkit")
    for used, left in (("portchain", {"psFormat": "x"}), ("other", {"psFormat": "x", "currentContext": "other"})):
        contexts.put({"portchain": WANTED})
        config = tmp_path / "config.json"
        config.write_text(json.dumps({"psFormat": "x", "currentContext": used}))
        config.chmod(0o600)
        contexts.put({})
        assert json.loads(config.read_text()) == left
        assert config.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["default", "x", "a b", "-x", "../x"])
def test_what_the_docker_command_takes_for_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a docker context's name"):
        check_name(name)
