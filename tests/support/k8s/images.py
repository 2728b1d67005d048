"""Images of this checkout on the nodes: built by `make images`, and brought there."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import NamedTuple

from support.helm import RefusedError

from .cluster import run

ROOT = Path(__file__).parents[3]
NAMES = ("planner", "coordinator", "agent-math", "agent-string")
ARCHIVES = ROOT / "dist" / "images"
LOAD = "STARLINGS_TEST_IMAGE_LOAD"
THERE = "STARLINGS_TEST_IMAGES"
BUILT_WITHIN_S = 900
LOADED_WITHIN_S = 120


class Images(NamedTuple):
    """Where the images of this checkout are, as the chart's values say it."""

    registry: str
    tag: str

    def name(self, image: str) -> str:
        """Write an image's full name."""
        return f"{self.registry}/starlings-{image}:{self.tag}"


def build_and_load() -> Images:
    """Build what the tests need under a tag of their own, and put it onto the nodes."""
    if there := os.environ.get(THERE):
        registry, _, tag = there.rpartition(":")
        return Images(registry, tag)
    images = Images(os.environ.get("REGISTRY") or "registry.local/starlings", f"t{time.time():.0f}")
    words = [f"IMAGES={' '.join(NAMES)}", f"REGISTRY={images.registry}", f"TAG={images.tag}"]
    run(
        "make", "--no-print-directory", "-C", str(ROOT), "images", *words, "ARGS=--keep",
        within_s=BUILT_WITHIN_S,
    )  # fmt: skip
    for name in NAMES:
        load_image(ARCHIVES / f"starlings-{name}.tar", images.name(name))
    return images


def load_image(archive: Path, name: str) -> None:
    """Put an image onto the nodes, and remove its archive."""
    run(*_loader(archive, name), within_s=LOADED_WITHIN_S)
    archive.unlink()


def _loader(archive: Path, name: str) -> list[str]:
    """Give the command that puts an image onto the nodes."""
    if command := os.environ.get(LOAD):
        return [*shlex.split(command), str(archive), name]
    kind, _, cluster = run("kubectl", "config", "current-context").strip().partition("-")
    if kind == "kind":
        return ["kind", "load", "image-archive", str(archive), "--name", cluster]
    if kind == "k3d":
        return ["k3d", "image", "import", str(archive), "--cluster", cluster]
    if os.environ.get("REGISTRY"):
        return [*shlex.split(os.environ.get("ENGINE") or "docker"), "push", name]
    raise RefusedError(
        f"no way for images into this cluster, which is neither kind nor k3d: set {LOAD} to a "
        "command that takes an archive and a name, or REGISTRY to one that its nodes pull from"
    )
