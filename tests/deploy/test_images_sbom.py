"""The bill of materials tells every library of an image, Python, and what Debian put below."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import structlog

from images.sbom import write_sbom

SITE = Path(structlog.__file__).parents[1]
STATUS = """\
Package: libssl3
Status: install ok installed
Architecture: amd64
Version: 3.0.17-1~deb12u2
Description: Secure Sockets Layer toolkit
 Package: not a field

Package: gone
Status: deinstall ok config-files
Version: 1

Package: perl-base
Status: install ok installed
Version: 5.36.0-7
"""


def test_it_names_libraries_python_and_packages_of_the_base(tmp_path):
    (tmp_path / "status").write_text(STATUS)
    for name in ("one.json", "two.json"):
        write_sbom(tmp_path / name, "an-image", folders=[SITE], dpkg=tmp_path / "status")
    text = (tmp_path / "one.json").read_text()
    assert text == (tmp_path / "two.json").read_text()
    document = json.loads(text)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    parts = {part["name"]: part for part in document["components"]}
    assert parts["structlog"]["purl"] == f"pkg:pypi/structlog@{version('structlog')}"
    assert parts["structlog"]["licenses"]
    assert "pydantic-core" in parts
    assert parts["libssl3"]["purl"] == "pkg:deb/debian/libssl3@3.0.17-1~deb12u2?arch=amd64"
    assert "python" in parts
    assert not {"gone", "perl-base"} & parts.keys(), "what is taken out of the base"


def test_a_base_without_dpkg_is_no_error(tmp_path):
    write_sbom(tmp_path / "one.json", "bare", folders=[], dpkg=tmp_path / "nothing")
    (part,) = json.loads((tmp_path / "one.json").read_text())["components"]
    assert part["name"] == "python"
