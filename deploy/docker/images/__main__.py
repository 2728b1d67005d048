"""Builds images and says how large each is: what `make images` runs.

Told by the environment: IMAGES (names; all without), REGISTRY, TAG (the version without),
PYTHON_IMAGE (the base), ENGINE and ENGINE_BUILD_OPTIONS. Writes the bill of materials of each
image into `--out`; with `--keep`, the image's archive beside it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from .archive import Contents, Layer, look_into
from .catalog import Image, all_images, chosen, version
from .engines import Engine, EngineFailed, find_engine

ROOT = Path(__file__).parents[3]
_MB = 1_000_000


def main(words: list[str]) -> int:
    """Build; the exit code."""
    options = _options(words)
    env = os.environ
    try:
        images = chosen(all_images(ROOT), env.get("IMAGES", "").split())
        engine = find_engine(env.get("ENGINE", ""), env.get("ENGINE_BUILD_OPTIONS", ""))
    except ValueError as error:
        print(f"images: {error}", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"{'image':44} {'compressed':>12} {'unpacked':>12}")
    known: dict[str, Layer] = {}
    revision = _revision()
    for image in images:
        reference = image.reference(env.get("REGISTRY", ""), env.get("TAG") or version(ROOT))
        try:
            _build(engine, image, reference, revision=revision)
            found = _measure(engine, image, reference, options=options, known=known)
        except EngineFailed as error:
            print(f"images: {error}", file=sys.stderr)
            return error.code
        if wrong := image.misfit(found.config, revision):
            print(f"images: {reference}: {wrong}", file=sys.stderr)
            return 1
        sizes = f"{found.compressed / _MB:9.1f} MB {found.unpacked / _MB:9.1f} MB"
        print(f"{reference:44} {sizes}", flush=True)
    return 0


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m images", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "images")
    parser.add_argument("--keep", action="store_true")
    return parser.parse_args(words)


def _build(engine: Engine, image: Image, reference: str, *, revision: str) -> None:
    arguments = {**image.arguments, "VERSION": version(ROOT), "REVISION": revision}
    if base := os.environ.get("PYTHON_IMAGE"):
        arguments["PYTHON"] = base
    line = engine.build(image.dockerfile, reference, arguments=arguments)
    engine.run(line, f"build {reference}", folder=ROOT)


def _measure(
    engine: Engine,
    image: Image,
    reference: str,
    *,
    options: argparse.Namespace,
    known: dict[str, Layer],
) -> Contents:
    file: Path = options.out / f"starlings-{image.name}.tar"
    file.unlink(missing_ok=True)  # engines refuse to write over an archive, or add to it
    engine.run(engine.save(reference, file), f"write out {reference}", folder=ROOT)
    found = look_into(file, known)
    if not options.keep:
        file.unlink()
    if found.sbom is not None:
        (options.out / f"starlings-{image.name}.cdx.json").write_bytes(found.sbom)
    return found


def _revision() -> str:
    """Name the commit, and say where files differ from it."""
    line = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--match="]
    asked = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
