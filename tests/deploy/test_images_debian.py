"""The base of images, stripped of what only installs and administers."""

from __future__ import annotations

import pytest

from images.debian import remove_packages
from images.trim import trim_base

STATUS = """\
Package: {name}
Status: install ok installed
Description: of no matter
 Package: nothing of that name
"""
FILES = {
    "apt": ["usr/bin/apt", "lib/apt/method"],
    "libgnutls30t64": ["lib/libgnutls.so.30"],
    "bash": ["usr/bin/bash"],
    "libssl3": ["lib/libssl.so.3"],
}
GONE = {"apt", "libgnutls30t64"}


@pytest.fixture
def root(tmp_path):
    """A system as Debian keeps it: `/lib` is a link; entries of libraries name an architecture."""
    info = tmp_path / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (tmp_path / "usr/lib/apt").mkdir(parents=True)
    (tmp_path / "usr/bin").mkdir()
    (tmp_path / "lib").symlink_to("usr/lib")
    for name, files in FILES.items():
        for file in files:
            (tmp_path / file).write_text("content", "utf-8")
        suffix = ":amd64" if name.startswith("lib") else ""
        listed = "\n".join(f"/{line}" for line in [".", "lib", "usr", *files, "usr/share/gone"])
        (info / f"{name}{suffix}.list").write_text(f"{listed}\n", "utf-8")
        (info / f"{name}{suffix}.md5sums").write_text("", "utf-8")
    entries = "\n".join(STATUS.format(name=name) for name in FILES)
    (tmp_path / "var/lib/dpkg/status").write_text(entries, "utf-8")
    return tmp_path


def test_what_installs_is_gone_with_its_entries_and_all_else_stays(root):
    assert set(remove_packages(root)) == GONE
    for name, files in FILES.items():
        for file in files:
            assert (root / file).exists() == (name not in GONE), file
    assert (root / "lib").is_symlink()
    names = {path.name.split(".")[0] for path in (root / "var/lib/dpkg/info").iterdir()}
    assert names == {"bash", "libssl3:amd64"}
    left = [STATUS.format(name=name) for name in FILES if name not in GONE]
    assert (root / "var/lib/dpkg/status").read_text("utf-8") == "\n".join(left)


def test_a_second_time_finds_nothing(root):
    remove_packages(root)
    assert remove_packages(root) == []


def test_a_base_that_is_no_debian_is_trimmed_all_the_same(tmp_path):
    library = tmp_path / "usr/local/lib/python3.11"
    (library / "ensurepip").mkdir(parents=True)
    (library / "string.py").write_text("x = 1\n", "utf-8")
    trim_base(tmp_path, library)
    assert not (library / "ensurepip").exists()
    assert list(library.glob("__pycache__/string.*.pyc"))
