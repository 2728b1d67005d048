"""Fills a folder of an image, inside a build stage: `python -m images.install WHAT …`.

    foreign FOLDER REQUIREMENT …   a virtual environment with what the lock has for them
    own     FOLDER REQUIREMENT …   the packages of this repository among them
    sbom    FILE REQUIREMENT …     what has been installed, after both

Two folders, so that they are two layers: a new version of Starlings leaves the large one, the
libraries, as it was on every machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .bytecode import compile_folder
from .lock import as_requirements, needed, read_lock
from .members import wanted
from .sbom import write_sbom
from .trim import trim_environment, trim_packages

ROOT = Path("/src")
LIBRARIES = Path("/opt/starlings")
OWN = Path("/opt/starlings-own")
BUILDER = Path("/opt/builder")


def main(words: list[str]) -> int:
    """Do one part; the exit code."""
    what, target, *requirements = words
    {"foreign": foreign, "own": own, "sbom": write_bill}[what](Path(target), requirements)
    return 0


def foreign(folder: Path, requirements: list[str]) -> None:
    """Make a virtual environment without pip, with the libraries that are needed, compiled."""
    _pip_install(folder, wanted(ROOT, requirements).foreign)
    site = next(folder.glob("lib/python3.*/site-packages"))
    (site / "starlings-own.pth").write_text(f"{OWN}\n", "utf-8")
    trim_packages(site)
    trim_environment(folder)
    compile_folder(site)


def own(folder: Path, requirements: list[str]) -> None:
    """Install packages of this repository without anything else, compiled."""
    members = sorted(wanted(ROOT, requirements).members)
    _pip_install(BUILDER, {"hatchling"})
    with tempfile.TemporaryDirectory() as wheels:
        sources = [str(ROOT / member) for member in members]
        alone = ("--no-deps", "--no-index")
        _pip(BUILDER, "wheel", *alone, "--no-build-isolation", "--wheel-dir", wheels, *sources)
        built = sorted(str(path) for path in Path(wheels).glob("*.whl"))
        _pip(LIBRARIES, "install", *alone, "--no-compile", "--target", str(folder), *built)
    compile_folder(folder)


def write_bill(file: Path, requirements: list[str]) -> None:
    """Write the bill of materials of both folders and of the base."""
    site = next(LIBRARIES.glob("lib/python3.*/site-packages"))
    write_sbom(file, "+".join(requirements), folders=[site, OWN])


def _pip_install(folder: Path, names: set[str]) -> None:
    pins = needed(read_lock((ROOT / "requirements.lock").read_text("utf-8")), names)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    with tempfile.TemporaryDirectory() as scratch:
        lock = Path(scratch) / "requirements.txt"
        lock.write_text(as_requirements(pins), "utf-8")
        options = ("--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-compile")
        _pip(folder, "install", *options, "-r", str(lock))


def _pip(environment: Path, command: str, *words: str) -> None:
    python = environment / "bin" / "python"
    line = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", command, *words]
    quiet = {"PIP_ROOT_USER_ACTION": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run(line, check=True, env=dict(os.environ) | quiet)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
