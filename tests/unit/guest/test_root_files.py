from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from portchain.guest import root_files


def test_a_file_that_cannot_be_made_is_named_and_stops_nothing(tmp_path: Path, capsys: Any) -> None:
    own = {"uid": os.getuid(), "gid": os.getgid(), "mode": 0o600, "contents": "text"}
    folder, good = tmp_path / "folder", tmp_path / "good"
    folder.mkdir()
    files = [{"path": str(folder), **own}, {"path": "with\0nul", **own}, {"path": str(good), **own}]
    (tmp_path / "guest.json").write_text(json.dumps({"files": files, "volumes": []}))
    assert root_files.make_all(tmp_path) == 2
    assert good.read_text() == "text"
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"guest: file '{folder}' cannot be made: ")
    assert "nul" in second
