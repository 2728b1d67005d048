"""An agent as `starlings new agent` writes it, in the image that its Dockerfile makes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from images.engines import find_engine
from starlings.cli.scaffold import write_agent

from .cluster import run
from .images import BUILT_WITHIN_S, ROOT, Images, load_image

NAME = "seats"


@dataclass(frozen=True)
class OwnAgent:
    """The agent's folder, and its image on the nodes."""

    folder: Path
    image: str

    def values(self) -> dict[str, Any]:
        """Read the values that were written for it, with the image where it is."""
        values: dict[str, Any] = yaml.safe_load((self.folder / "values.yaml").read_text("utf-8"))
        values["agents"][NAME]["image"] = self.image
        return values


def build_own_agent(folder: Path, images: Images) -> OwnAgent:
    """Do what its author does: write it, put the wheel of Starlings beside it, build, and ship."""
    write_agent(NAME, "function", folder)
    wheel = ("build", "--quiet", "--wheel", "--no-build-isolation", str(ROOT / "sdk"))
    python = ("--python", sys.executable)
    run(sys.executable, "-m", "uv", *wheel, *python, "--out-dir", str(folder / "wheels"))
    image = f"{images.registry}/{NAME}:{images.tag}"
    engine = find_engine(os.environ.get("ENGINE", ""), os.environ.get("ENGINE_BUILD_OPTIONS", ""))
    base = os.environ.get("PYTHON_IMAGE")
    arguments = {"PYTHON": base} if base else {}
    line = engine.build("Dockerfile", image, arguments=arguments)
    run(*line, within_s=BUILT_WITHIN_S, folder=folder)
    archive = folder / "image.tar"
    run(*engine.save(image, archive), within_s=BUILT_WITHIN_S)
    load_image(archive, image)
    return OwnAgent(folder, image)
