"""Fetch Apache Kafka's jars by their Maven coordinates, once, and never run an unknown one.

`jars.sha256` beside this file names every jar with its SHA-256. The jars lie in
`~/.cache/starlings/kafka/<version>/lib` (`STARLINGS_CACHE` overrides `~/.cache/starlings`); the
folder appears complete or not at all. `STARLINGS_MAVEN_URL` names a mirror of Maven Central.

To move to another version: change `VERSION`, then `python -m starlings.broker.pin` rewrites the
list.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import stamina
import structlog

from starlings.messages.errors import ConfigError

from .locks import exclusive

VERSION = "4.3.1"
MANIFEST = Path(__file__).with_name("jars.sha256")
DOWNLOADS_AT_ONCE = 8

Progress = Callable[[str], None]
log = structlog.get_logger(__name__)


def report(line: str) -> None:
    """Tell progress where nobody asked for it: one log line."""
    log.info("local_broker", progress=line)


def cache_folder() -> Path:
    """Where downloads and what is derived from them lie: safe to delete at any time."""
    root = os.environ.get("STARLINGS_CACHE")
    base = Path(root).expanduser() if root else Path.home() / ".cache" / "starlings"
    return base / "kafka" / VERSION


def manifest() -> dict[str, str]:
    """Read the pinned list: coordinate `group:artifact:version` → SHA-256."""
    lines = MANIFEST.read_text(encoding="utf-8").splitlines()
    pairs = (line.split() for line in lines if line.strip())
    return dict(pairs)


def jar_name(coordinate: str) -> str:
    """Name the file of a coordinate, as Maven does."""
    _, artifact, version = coordinate.split(":")
    return f"{artifact}-{version}.jar"


def verify(folder: Path, pinned: Mapping[str, str]) -> list[Path]:
    """Check every jar against its checksum; return them in the order of the class path."""
    jars = []
    for coordinate, expected in sorted(pinned.items()):
        jar = folder / jar_name(coordinate)
        if not jar.exists():
            raise ConfigError(f"{jar} is missing; delete {folder} and it is fetched again")
        with jar.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise ConfigError(
                f"{jar} has the wrong checksum and is not run: expected SHA-256 {expected}, found "
                f"{found}; delete {folder} to fetch it again, and look into it if it comes back"
            )
        jars.append(jar)
    return jars


def open_maven(repository: Path) -> Any:
    """Open jgo's view of Maven Central, or of the mirror that is set."""
    try:
        jgo = importlib.import_module("jgo")
        maven = importlib.import_module("jgo.maven")
    except ImportError as error:
        raise ConfigError(
            "fetching Apache Kafka needs the extra `starlings[broker]`: "
            'pip install "starlings[broker]", or set KAFKA_BOOTSTRAP to a Kafka of yours'
        ) from error
    source = os.environ.get("STARLINGS_MAVEN_URL", jgo.MAVEN_CENTRAL_URL)
    return maven.MavenContext(
        repo_cache=repository, local_repos=[], remote_repos={"source": source}, timeout=30
    )


@stamina.retry(on=OSError, attempts=4, timeout=120)
def _download(maven: Any, coordinate: str, folder: Path) -> None:
    """Fetch one jar; requests' errors are OSErrors, and a torn file is not kept."""
    group, artifact, version = coordinate.split(":")
    wanted = maven.project(group, artifact).at_version(version).artifact()
    try:
        found = wanted.resolve()
    except BaseException:
        wanted.cached_path.unlink(missing_ok=True)
        raise
    shutil.move(found, folder / jar_name(coordinate))


def _download_all(maven: Any, pinned: Mapping[str, str], folder: Path) -> None:
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        waiting = [pool.submit(_download, maven, name, folder) for name in sorted(pinned)]
        try:
            for done in waiting:
                done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _fetch_all(lib: Path, pinned: Mapping[str, str], progress: Progress) -> None:
    source = os.environ.get("STARLINGS_MAVEN_URL", "Maven Central")
    progress(
        f"fetching Apache Kafka {VERSION} once: {len(pinned)} jars, about 44 MB, "
        f"from {source} into {lib}"
    )
    for left in lib.parent.glob("fetch-*/"):  # of a fetch that was killed: we hold the lock
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=lib.parent) as work:
        maven, folder = open_maven(Path(work, "repository")), Path(work, "lib")
        folder.mkdir()
        try:
            _download_all(maven, pinned, folder)
        except (OSError, RuntimeError) as error:
            raise ConfigError(
                f"Apache Kafka {VERSION} could not be fetched: {error}; check the network, "
                "set STARLINGS_MAVEN_URL to a mirror, or KAFKA_BOOTSTRAP to a Kafka of yours"
            ) from error
        verify(folder, pinned)
        folder.rename(lib)


def fetch(progress: Progress = report, *, pinned: Mapping[str, str] | None = None) -> list[Path]:
    """Return the verified jars in the order of the class path, fetching them at first use."""
    expected = manifest() if pinned is None else pinned
    lib = cache_folder() / "lib"
    if not lib.exists():
        waiting = "another process is fetching Apache Kafka; waiting for it"
        with exclusive(lib.with_name("fetch.lock"), on_wait=lambda: progress(waiting)):
            if not lib.exists():
                _fetch_all(lib, expected, progress)
    return verify(lib, expected)
