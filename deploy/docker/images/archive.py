"""Looks into the archive of an image: how large it is, and the bill of materials in it.

It reads both forms that engines write: an OCI layout (`index.json`) and docker's own
(`manifest.json`). Sizes are in bytes: compressed is what a registry keeps and a node fetches
(gzip), unpacked what lies on the node's disk.
"""

from __future__ import annotations

import json
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

SBOM = "opt/starlings-own/sbom.cdx.json"
_CHUNK = 1 << 20
_GZIP = 31  # zlib's number for gzip's own header


@dataclass(frozen=True)
class Layer:
    """The size of a layer, and the bill of materials where it lies in it."""

    compressed: int
    unpacked: int
    sbom: bytes | None


@dataclass(frozen=True)
class Contents:
    """What an archive holds: sizes, configuration, bill of materials."""

    compressed: int
    unpacked: int
    config: dict[str, Any]
    sbom: bytes | None


def look_into(file: Path, known: dict[str, Layer] | None = None) -> Contents:
    """Measure an image; `known` keeps layers that other images have too.

    Raises:
        ValueError: it is no archive of an image.
    """
    known = {} if known is None else known
    with tarfile.open(file) as archive:
        config, names = _parts(archive)
        layers = [_layer(archive, name, known) for name in names]
        content = json.loads(_read(archive, config))
    bills = [layer.sbom for layer in layers if layer.sbom is not None]
    return Contents(
        compressed=sum(layer.compressed for layer in layers),
        unpacked=sum(layer.unpacked for layer in layers),
        config=content,
        sbom=bills[-1] if bills else None,
    )


def _parts(archive: tarfile.TarFile) -> tuple[str, list[str]]:
    names = set(archive.getnames())
    if "index.json" in names:
        manifest = _manifest(archive, json.loads(_read(archive, "index.json")))
        layers = [_blob(layer["digest"]) for layer in manifest["layers"]]
        return _blob(manifest["config"]["digest"]), layers
    if "manifest.json" in names:
        (manifest,) = json.loads(_read(archive, "manifest.json"))
        return manifest["Config"], manifest["Layers"]
    raise ValueError(f"{archive.name!r} is no archive of an image")


def _manifest(archive: tarfile.TarFile, index: dict[str, Any]) -> dict[str, Any]:
    """Follow indexes to the first manifest of an image: attestations have no platform."""
    for entry in index["manifests"]:
        if entry.get("platform", {}).get("os") == "unknown":
            continue
        found: dict[str, Any] = json.loads(_read(archive, _blob(entry["digest"])))
        return _manifest(archive, found) if "manifests" in found else found
    raise ValueError(f"{archive.name!r} holds no image")


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _open(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    found = archive.extractfile(name)
    if found is None:
        raise ValueError(f"{archive.name!r} lacks {name}")
    return found


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    with _open(archive, name) as file:
        return file.read()


def _layer(archive: tarfile.TarFile, name: str, known: dict[str, Layer]) -> Layer:
    """Measure a layer, once for all images that share it: its name is its digest."""
    if name not in known:
        with _open(archive, name) as file:
            packed = file.read(2) == b"\x1f\x8b"
            size = archive.getmember(name).size if packed else sum(map(len, _gzipped(file)))
            file.seek(0)
            unpacked, sbom = _files(file)
        known[name] = Layer(size, unpacked, sbom)
    return known[name]


def _gzipped(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    pack = zlib.compressobj(wbits=_GZIP)
    while chunk := file.read(_CHUNK):
        yield pack.compress(chunk)
    yield pack.flush()


def _files(layer: IO[bytes]) -> tuple[int, bytes | None]:
    total, sbom = 0, None
    with tarfile.open(fileobj=layer, mode="r|*") as files:
        for member in files:
            total += member.size if member.isreg() else 0
            if member.name.lstrip("./") == SBOM and (found := files.extractfile(member)):
                sbom = found.read()
    return total, sbom
