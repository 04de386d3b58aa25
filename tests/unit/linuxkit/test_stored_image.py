from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portchain.image.docker_archive import ARCHITECTURES, write_archive
from portchain.linuxkit.stored_image import StoredImageError, find_image
from support.mutations import mutated

NAME = "org.opencontainers.image.ref.name"


def blob(layout: Path, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (layout / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    (layout / "blobs/sha256" / digest).write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def manifest(layout: Path, layer: bytes, **config: Any) -> dict[str, Any]:
    plain = gzip.decompress(layer) if layer[:2] == b"\x1f\x8b" else layer
    document = {"config": config, "rootfs": {"diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]}}
    described = {"config": blob(layout, json.dumps(document).encode()), "layers": [blob(layout, layer)]}
    return blob(layout, json.dumps(described).encode())


def index(layout: Path, *manifests: dict[str, Any]) -> Path:
    (layout / "index.json").write_text(json.dumps({"manifests": manifests}))
    return layout


def in_a_tar(layout: Path) -> Path:
    path = layout.with_suffix(".tar")
    with tarfile.open(path, "w") as tar:
        tar.add(layout, ".")
    return path


@pytest.mark.parametrize("layer", [b"plain", gzip.compress(b"packed")], ids=["plain", "packed"])
@pytest.mark.parametrize("kind", ["folder", "tarball"])
def test_a_layout_is_read(tmp_path: Path, kind: str, layer: bytes) -> None:
    layout = index(tmp_path / "l", manifest(tmp_path / "l", layer, Entrypoint=["/x"]))
    image = find_image(in_a_tar(layout) if kind == "tarball" else layout)
    assert image.runtime == {"Entrypoint": ["/x"]}
    with image.open_layer(0) as file:
        assert f"sha256:{hashlib.sha256(file.read()).hexdigest()}" == image.diff_ids[0]


def test_the_same_image_has_the_same_id_wherever_it_is(tmp_path: Path) -> None:
    layout = index(tmp_path / "l", manifest(tmp_path / "l", b"x"))
    assert find_image(layout).id == find_image(in_a_tar(layout)).id


def test_what_docker_save_writes_is_read(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/hello").write_text("there")
    written = write_archive(tmp_path / "root", "own/hello:1", {"Cmd": ["/hello"]}, tmp_path / "a.tar")
    image = find_image(tmp_path / "a.tar", "own/hello:1")
    assert f"sha256:{image.id}" == written
    with image.open_layer(0) as file, tarfile.open(fileobj=io.BytesIO(file.read())) as layer:
        assert layer.getnames() == ["hello"]


def test_one_of_several_is_meant(tmp_path: Path) -> None:
    layout = tmp_path / "l"
    named = [manifest(layout, name.encode(), Cmd=[name]) | {"annotations": {NAME: name}} for name in "ab"]
    index(layout, *named)
    assert find_image(layout, "b").runtime == {"Cmd": ["b"]}
    with pytest.raises(StoredImageError, match="which image is meant; there are: a, b"):
        find_image(layout)
    with pytest.raises(StoredImageError, match="no image 'c'; there are: a, b"):
        find_image(layout, "c")


def test_of_several_machines_it_is_ours(tmp_path: Path) -> None:
    layout = tmp_path / "l"
    ours = ARCHITECTURES.get(platform.machine(), platform.machine())
    machines = [
        manifest(layout, name.encode(), Cmd=[name]) | {"platform": {"architecture": name}} for name in (ours, "s390x")
    ]
    index(layout, blob(layout, json.dumps({"manifests": machines[::-1]}).encode()))
    assert find_image(layout).runtime == {"Cmd": [ours]}
    index(layout, blob(layout, json.dumps({"manifests": machines[1:]}).encode()))
    with pytest.raises(StoredImageError, match=f"nothing for {ours}"):
        find_image(layout)


def test_what_is_no_image_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(StoredImageError, match="neither index"):
        find_image(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"not a tar")
    with pytest.raises(StoredImageError, match=r"a\.tar: no image that can be read"):
        find_image(tmp_path / "a.tar")


def test_a_digest_cannot_lead_out(tmp_path: Path) -> None:
    index(tmp_path, {"digest": "sha256:../../../etc/passwd"})
    with pytest.raises(StoredImageError, match="is not a digest"):
        find_image(tmp_path)


@pytest.mark.parametrize("leads", ["../beside.tar", "/etc/hostname", "link"])
def test_a_layer_cannot_lead_out(tmp_path: Path, leads: str) -> None:
    (tmp_path / "beside.tar").write_bytes(b"secret")
    layout = tmp_path / "l"
    layout.mkdir()
    (layout / "link").symlink_to(tmp_path / "beside.tar")
    (layout / "config.json").write_text('{"rootfs": {"diff_ids": ["sha256:00"]}}')
    (layout / "manifest.json").write_text(json.dumps([{"Config": "config.json", "Layers": [leads]}]))
    image = find_image(layout)
    with pytest.raises(StoredImageError, match="is not in the image"), image.open_layer(0):
        pass


def test_a_configuration_that_does_not_fit_its_layers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"rootfs": {"diff_ids": []}}')
    (tmp_path / "manifest.json").write_text(json.dumps([{"Config": "config.json", "Layers": ["one.tar"]}]))
    with pytest.raises(StoredImageError, match="does not name its 1 layers"):
        find_image(tmp_path)


def test_a_zstd_layer_is_refused(tmp_path: Path) -> None:
    layout = index(tmp_path / "l", manifest(tmp_path / "l", b"\x28\xb5\x2f\xfdxxxx"))
    with pytest.raises(StoredImageError, match="zstd"), find_image(layout).open_layer(0):
        pass


ODD = (b"[]", b"{}", b"null", b"-1", b'"', b"../", b"sha256:", b"1e999", b"[" * 2000)


@given(data=st.data())
def test_any_archive_is_an_image_or_none(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("odd")
    archive = in_a_tar(index(folder / "l", manifest(folder / "l", b"layer", Entrypoint=["/x"])))
    archive.write_bytes(data.draw(mutated(archive.read_bytes(), ODD)))
    with contextlib.suppress(StoredImageError):
        find_image(archive)


@given(data=st.data())
def test_any_layout_is_an_image_or_none(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    layout = tmp_path_factory.mktemp("odd")
    index(layout, manifest(layout, b"layer", Entrypoint=["/x"]))
    file = data.draw(st.sampled_from(sorted(path for path in layout.rglob("*") if path.is_file())))
    file.write_bytes(data.draw(mutated(file.read_bytes(), ODD)))
    with contextlib.suppress(StoredImageError):
        find_image(layout)
