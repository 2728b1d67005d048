"""Rewrite `jars.sha256` for the Kafka version in `jars.py`: `python -m starlings.broker.pin`.

Resolves the coordinates with all that they need, downloads every jar and notes its SHA-256. Look at
the difference before you commit it: from then on these jars are what runs.
"""

from __future__ import annotations

import hashlib
import importlib
import tempfile
from pathlib import Path

from .jars import MANIFEST, VERSION, open_maven

COORDINATES = (f"org.apache.kafka:kafka_2.13:{VERSION}", "org.slf4j:slf4j-simple:1.7.36")


def resolve_anew() -> dict[str, str]:
    """Resolve the coordinates with all they need and hash every jar, for a new manifest."""
    with tempfile.TemporaryDirectory() as work:
        maven = open_maven(Path(work))
        asked = []
        for coordinate in COORDINATES:
            group, artifact, version = coordinate.split(":")
            wanted = maven.project(group, artifact).at_version(version).artifact()
            asked.append(importlib.import_module("jgo.maven").Dependency(wanted, "compile"))
        inputs, others = maven.resolver.resolve(asked)
        needed = [*inputs, *(one for one in others if one.scope in {"compile", "runtime"})]
        return {
            f"{one.groupId}:{one.artifactId}:{one.version}": hashlib.sha256(
                one.artifact.resolve().read_bytes()
            ).hexdigest()
            for one in needed
        }


if __name__ == "__main__":
    MANIFEST.write_text(
        "".join(f"{name}  {digest}\n" for name, digest in sorted(resolve_anew().items())),
        encoding="utf-8",
    )
