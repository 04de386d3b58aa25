"""The package's copy on the host."""

from __future__ import annotations

from pathlib import Path

from portchain.host.install import digest, install


def test_a_copy_is_made_once_and_loses_what_is_gone(tmp_path: Path) -> None:
    package, place = tmp_path / "package", tmp_path / "place"
    (package / "part" / "__pycache__").mkdir(parents=True)
    (package / "part" / "__pycache__" / "x.pyc").write_text("")
    (package / "part" / "x.py").write_text("1")
    (package / "y.py").write_text("2")
    assert install(package, place)
    assert not install(package, place)
    (package / "y.py").rename(package / "z.py")
    assert install(package, place)
    assert sorted(p.name for p in place.rglob("*.py*")) == ["x.py", "z.py"]
    assert digest(place / "package") == digest(package) != ""
