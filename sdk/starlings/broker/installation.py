"""An Apache Kafka that is ready to run: Java, verified jars, a warm cache of classes, a template.

What costs seconds is done once and kept beside the jars: a training run whose loaded classes Java
reuses (an AOT cache from Java 25 on, AppCDS before: ready in 0.7 s instead of 1.7 s), and a
formatted storage folder that is copied instead of formatted anew. Both are made under a lock and
appear complete or not at all.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .jars import Progress, cache_folder, fetch, report
from .java import Java, find_java
from .locks import exclusive
from .ports import free_port
from .process import BrokerFailed, await_ready, finish, launch
from .properties import BrokerSecurity, broker_settings, render

AOT_SINCE = 25
TRAINING_WAIT_S = 120
#: C1 alone: in short runs the optimising compiler costs two to four times what it gains.
JVM_FLAGS = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xms64m",
    "-Xmx384m",
    "-Xss512k",
    "-XX:-UsePerfData",
    "-Xlog:all=error:stderr",  # its warnings about cached code mean only a slower start
    "-XX:ReservedCodeCacheSize=64m",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
)


def new_cluster_id() -> str:
    """Make an id as Kafka does: a random UUID, base64 without padding, not like an option."""
    while (cluster_id := urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith(
        "-"
    ):
        continue
    return cluster_id


@dataclass(frozen=True)
class Installation:
    """Java and the jars, with what makes them start quickly."""

    java: Java
    jars: tuple[Path, ...]
    folder: Path
    warm_flags: tuple[str, ...] = ()

    def command(self, main: str, *arguments: str, flags: Sequence[str] | None = None) -> list[str]:
        """Build a command line; the class path has the same order every time, as caches need."""
        classpath = ":".join(str(jar) for jar in self.jars)
        warm = self.warm_flags if flags is None else flags
        return [str(self.java.program), *JVM_FLAGS, *warm, "-cp", classpath, main, *arguments]

    def format(self, storage: Path, security: BrokerSecurity | None = None) -> None:
        """Format a storage folder: a copy of the template, or with its users where secured."""
        template = self.folder / "template"
        if security is not None or not template.exists():
            self._run_formatter(storage, security)
            return
        with tempfile.TemporaryDirectory(prefix="format-", dir=storage.parent) as work:
            copy = shutil.copytree(template, Path(work, "storage"))
            properties = copy / "meta.properties"
            lines = properties.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if not line.startswith("cluster.id=")]
            properties.write_text("\n".join([*kept, f"cluster.id={new_cluster_id()}", ""]))
            copy.rename(storage)

    def _run_formatter(self, storage: Path, security: BrokerSecurity | None) -> None:
        users = security.format_arguments() if security else []
        with tempfile.TemporaryDirectory(prefix="format-", dir=storage.parent) as work:
            target, config = Path(work, "storage"), Path(work, "server.properties")
            settings = broker_settings(storage=target, port=1, controller_port=2)
            config.write_text(render(settings), encoding="utf-8")
            asked = ["format", "-t", new_cluster_id(), "-c", str(config), *users]
            done = subprocess.run(  # noqa: S603 - our own command line
                self.command("kafka.tools.StorageTool", *asked),
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise BrokerFailed(
                    f"the storage could not be formatted:\n{done.stdout}{done.stderr}"
                )
            target.rename(storage)


def _train(cold: Installation, flag: str) -> None:
    """Start and stop a broker once, so that Java writes down which classes it loaded."""
    for left in cold.folder.glob("training-*/"):  # of one that was killed: we hold the lock
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix="training-", dir=cold.folder) as work:
        storage, config, log = (Path(work, name) for name in ("storage", "properties", "log"))
        cold.format(storage)
        settings = broker_settings(storage=storage, port=free_port(), controller_port=free_port())
        config.write_text(render(settings), encoding="utf-8")
        process = launch(cold.command("kafka.Kafka", str(config), flags=[flag]), log=log)
        try:
            await_ready(process, log, mark=0, wait_s=TRAINING_WAIT_S)
        finally:
            finish(process, wait_s=TRAINING_WAIT_S)


def _warm_flags(cold: Installation, progress: Progress) -> tuple[str, ...]:
    """Make the cache of classes for this Java and these flags, once; return the flags to use it."""
    kind = "aot" if cold.java.major >= AOT_SINCE else "jsa"
    identity = "\n".join(
        [str(cold.java.program), cold.java.version, *JVM_FLAGS, *map(str, cold.jars)]
    )
    name = f"classes-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.{kind}"
    cache = cold.folder / name
    written = cold.folder / f"new-{name}"
    if not cache.exists():
        with exclusive(cold.folder / "classes.lock"):
            if not cache.exists():
                progress("preparing a quick start of Apache Kafka, once: about 10 s")
                option = "AOTCacheOutput" if kind == "aot" else "ArchiveClassesAtExit"
                _train(cold, f"-XX:{option}={written}")
                if not written.exists():  # a Java without that feature: it starts slower, no more
                    return ()
                written.rename(cache)
    option = "AOTCache" if kind == "aot" else "SharedArchiveFile"
    return (f"-XX:{option}={cache}",)


def _template(cold: Installation) -> None:
    """Format one storage folder to copy from, once."""
    template = cold.folder / "template"
    if not template.exists():
        with exclusive(cold.folder / "template.lock"):
            if not template.exists():
                cold.format(template)


def install(progress: Progress = report) -> Installation:
    """Make Apache Kafka ready to run; does only what is missing, and says so when it takes long."""
    java = find_java()
    cold = Installation(java, tuple(fetch(progress)), cache_folder())
    _template(cold)
    return Installation(cold.java, cold.jars, cold.folder, _warm_flags(cold, progress))
