"""A real PostgreSQL of the tests' own, started where its programs are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from starlings.broker.ports import free_port

BRING = "`apt-get install postgresql` (as root `make test` does it)"
OWNER = "postgres"  # the server refuses to run as root
PASSWORD = "pass/word 4711"


def programs() -> Path | None:
    """Find the folder of PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    named = shutil.which("initdb")
    return Path(named).parent if named else None


@contextmanager
def running_postgres() -> Iterator[str]:
    """Start one on loopback; give its address, as its superuser `postgres`."""
    found = programs()
    if found is None:
        reason = f"no PostgreSQL for this test; {BRING}"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    user = OWNER if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="starlings-pg-") as folder:
        if user is not None:
            shutil.chown(folder, user)
        data = Path(folder) / "data"
        password = Path(folder) / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        _run([found / "initdb", "-D", data, "-U", OWNER, "-A", "scram-sha-256", "-N",
              f"--pwfile={password}", "-E", "UTF8", "--locale=C"], user)  # fmt: skip
        port = free_port()
        options = (
            f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        )
        control = [found / "pg_ctl", "-D", data, "-l", Path(folder) / "log", "-w", "-t", "60"]
        _run([*control, "-o", options, "start"], user)
        try:
            yield f"postgresql://postgres:pass%2Fword%204711@127.0.0.1:{port}/postgres"
        finally:
            _run([*control, "-m", "immediate", "stop"], user)


def _run(command: list[object], user: str | None) -> None:
    words = [str(part) for part in command]
    done = subprocess.run(
        words, user=user, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, timeout=100, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.fail(f"{words[0]} failed: {done.stderr}", pytrace=False)
