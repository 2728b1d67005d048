"""Writes what an image is made of, as a CycloneDX 1.6 document in JSON.

It tells the libraries by their metadata, Python itself, and the packages of the base where dpkg
lists them, but for those that are taken out of it. No time and no random number stand in it: the
same image gives the same document.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .debian import is_unused
from .lock import normal

DPKG = Path("/var/lib/dpkg/status")
_LICENSE = "License :: OSI Approved :: "


def write_sbom(file: Path, name: str, *, folders: list[Path], dpkg: Path = DPKG) -> None:
    """Write the bill of materials of what lies in these folders, and of the base."""
    listed = distributions(path=[str(folder) for folder in folders])
    parts = [_library(found) for found in listed] + [_python(), *_debian(dpkg)]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name}},
        "components": sorted(parts, key=lambda part: str(part["purl"])),
    }
    file.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _library(found: Distribution) -> dict[str, Any]:
    name = normal(found.metadata["Name"])
    purl = f"pkg:pypi/{name}@{found.version}"
    part = {"type": "library", "name": name, "version": found.version}
    licenses = list(_licenses(found))
    return part | {"purl": purl, "bom-ref": purl} | ({"licenses": licenses} if licenses else {})


def _licenses(found: Distribution) -> Iterator[dict[str, Any]]:
    if expression := found.metadata["License-Expression"]:
        yield {"expression": expression}
        return
    for line in found.metadata.get_all("Classifier") or ():
        if line.startswith(_LICENSE):
            yield {"license": {"name": line.removeprefix(_LICENSE)}}


def _python() -> dict[str, Any]:
    version = platform.python_version()
    purl = f"pkg:generic/python@{version}"
    part = {"type": "platform", "name": "python", "version": version}
    return part | {"purl": purl, "bom-ref": purl}


def _debian(status: Path) -> Iterator[dict[str, Any]]:
    if not status.is_file():
        return
    for paragraph in status.read_text("utf-8").split("\n\n"):
        fields = dict(_fields(paragraph.splitlines()))
        if "installed" in fields.get("Status", "").split() and not is_unused(fields["Package"]):
            yield _deb(fields)


def _fields(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, colon, value = line.partition(": ")
        if colon and not line.startswith(" "):
            yield name, value


def _deb(fields: Mapping[str, str]) -> dict[str, Any]:
    name, version = fields["Package"], fields["Version"]
    architecture = fields.get("Architecture", "all")
    purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={architecture}"
    part = {"type": "library", "name": name, "version": version}
    return part | {"purl": purl, "bom-ref": purl}
