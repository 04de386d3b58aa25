from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from portchain.preflight.guest_variables import InventoryGuest

PROJECT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("preflight_module", PROJECT / "library/preflight.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_a_catalogue_that_is_wrong_is_told_before_the_images_are_built(module: ModuleType, tmp_path: Path) -> None:
    services = tmp_path / "guest_services/services"
    shutil.copytree(PROJECT / "roles/guest_services/services", services, symlinks=True)
    names = [folder.name for folder in (PROJECT / "roles/guest_image/images").iterdir()]
    guest = InventoryGuest("laptop", {"guest_services_yaml": "", "guest_image_names": names}, {})
    images = tmp_path / "guest_image/images"
    assert module.described_wrongly(guest, images) == []
    (services / "acpid/service.yml").write_text("name: acpid\nimage: services\nbinsd: []\n")
    (problem,) = module.described_wrongly(guest, images)
    assert problem.startswith("guest laptop: the catalogue of services: ")
    assert "acpid/service.yml:3: binsd:" in problem
