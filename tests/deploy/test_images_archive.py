"""What is told of an image that was built, whichever engine wrote it: its size, its parts."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from images.archive import SBOM, Layer, look_into

CONFIG = {"config": {"User": "10001:10001"}}


def tar(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


BASE = tar({"etc/passwd": b"x" * 100_000})
OWN = tar({f"./{SBOM}": b"{}", "opt/more": b"y" * 50_000})


def blob(content: bytes) -> tuple[str, dict[str, object]]:
    digest = hashlib.sha256(content).hexdigest()
    return f"blobs/sha256/{digest}", {"digest": f"sha256:{digest}", "size": len(content)}


def layout(layers: list[bytes], *, nested: bool = False) -> bytes:
    """Write an OCI layout; nested as docker does, with an attestation beside the image."""
    parts, entries = {}, []
    for content in (json.dumps(CONFIG).encode(), *layers):
        name, entry = blob(content)
        parts[name] = content
        entries.append(entry)
    manifest = json.dumps({"config": entries[0], "layers": entries[1:]}).encode()
    name, entry = blob(manifest)
    parts[name] = manifest
    if nested:
        unknown = {"digest": "sha256:0", "platform": {"os": "unknown"}}
        inner = json.dumps({"manifests": [unknown, entry | {"platform": {"os": "linux"}}]}).encode()
        name, entry = blob(inner)
        parts[name] = inner
    return tar({"index.json": json.dumps({"manifests": [entry]}).encode(), **parts})


def of_docker(layers: list[bytes]) -> bytes:
    files = {f"{number}/layer.tar": layer for number, layer in enumerate(layers)}
    manifest = [{"Config": "config.json", "Layers": list(files)}]
    described = {"manifest.json": json.dumps(manifest), "config.json": json.dumps(CONFIG)}
    return tar(files | {name: text.encode() for name, text in described.items()})


@pytest.mark.parametrize(
    "archive",
    [
        layout([gzip.compress(BASE), gzip.compress(OWN)]),
        layout([BASE, OWN], nested=True),
        of_docker([BASE, OWN]),
    ],
    ids=["OCI, packed", "OCI in an index", "docker"],
)
def test_every_form_of_archive_tells_the_same(archive, tmp_path):
    (tmp_path / "image.tar").write_bytes(archive)
    found = look_into(tmp_path / "image.tar")
    assert found.unpacked == 150_000 + len(b"{}")
    assert 300 < found.compressed < 2_000
    assert found.sbom == b"{}"
    assert found.config == CONFIG


def test_a_layer_that_images_share_is_measured_once(tmp_path):
    (tmp_path / "image.tar").write_bytes(layout([BASE, OWN]))
    known: dict[str, Layer] = {}
    first = look_into(tmp_path / "image.tar", known)
    assert len(known) == 2
    known[blob(BASE)[0]] = Layer(compressed=7, unpacked=9, sbom=None)
    again = look_into(tmp_path / "image.tar", known)
    assert again.unpacked == first.unpacked - 100_000 + 9


def test_what_is_no_image_is_refused(tmp_path):
    file: Path = tmp_path / "image.tar"
    file.write_bytes(tar({"readme": b"no image"}))
    with pytest.raises(ValueError, match="is no archive of an image"):
        look_into(file)
    file.write_bytes(tar({"index.json": b'{"manifests": []}'}))
    with pytest.raises(ValueError, match="holds no image"):
        look_into(file)
