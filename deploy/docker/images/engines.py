"""Builds with docker, podman or buildah, whichever is there and answers."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

KINDS = ("docker", "podman", "buildah")


class EngineFailed(Exception):  # noqa: N818 - says what is the case
    """An engine could not do something; `code` is what it ended with."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Engine:
    """A command line that builds images, with options for each of its builds."""

    command: Sequence[str]
    options: Sequence[str] = ()

    @property
    def kind(self) -> str:
        """Say which of the three it is."""
        return Path(self.command[0]).name

    def build(self, dockerfile: str, reference: str, *, arguments: Mapping[str, str]) -> list[str]:
        """Give the command that builds an image, from the root of the repository."""
        layers = [] if self.kind == "docker" else ["--layers"]  # docker always keeps them
        given = [f"--build-arg={name}={value}" for name, value in sorted(arguments.items())]
        line = [*self.command, "build", *layers, *self.options, *given]
        return [*line, "--file", dockerfile, "--tag", reference, "."]

    def save(self, reference: str, file: Path) -> list[str]:
        """Give the command that writes an image to an archive."""
        if self.kind == "docker":
            return [*self.command, "save", "--output", str(file), reference]
        target = f"oci-archive:{file}:{reference}"
        if self.kind == "podman":
            return [*self.command, "save", "--format=oci-archive", f"--output={file}", reference]
        return [*self.command, "push", "--quiet", reference, target]

    def run(self, line: Sequence[str], what: str, *, folder: Path) -> None:
        """Run one of these commands in a folder. What it says goes to standard error.

        Raises:
            EngineFailed: it could not do `what`.
        """
        mounts = {"DOCKER_BUILDKIT": "1"}  # which docker knows by itself from 23 on
        env = os.environ | mounts
        done = subprocess.run(line, cwd=folder, stdout=sys.stderr, env=env, check=False)
        if done.returncode:
            raise EngineFailed(f"{self.kind} could not {what}", done.returncode)


def find_engine(wanted: str = "", options: str = "") -> Engine:
    """Take the engine that is named, or else the first that is there and answers.

    Raises:
        ValueError: there is none, or the one that is named is none of the three.
    """
    if command := shlex.split(wanted):
        if Path(command[0]).name not in KINDS:
            raise ValueError(f"ENGINE={wanted}: it takes {', '.join(KINDS)}, with options if any")
        return Engine(command, shlex.split(options))
    for kind in KINDS:
        if shutil.which(kind) and _answers(kind):
            return Engine([kind], shlex.split(options))
    raise ValueError(
        f"no image can be built: none of {', '.join(KINDS)} is there and answers; "
        "install one, or start its service"
    )


def _answers(kind: str) -> bool:
    """A client without its service cannot build."""
    try:
        asked = subprocess.run([kind, "info"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0
