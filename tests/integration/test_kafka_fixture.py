"""The fixture `kafka` itself: what it does where no Kafka can be had, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support.kafka import RUN_FOLDER
from support.waiting import wait_until_sync

ROOT = Path(__file__).parents[2]
ASKING = """
def test_asks_for_kafka(kafka, topics):
    print("GOT", kafka.bootstrap, topics.prefix)
"""
HANGING = """
import pathlib, threading
def test_hangs(own_broker):
    pathlib.Path({told!r}).write_text(str(own_broker.pid))
    threading.Event().wait()
"""


def session(tmp_path: Path, test: str, **environment: str) -> subprocess.Popen[str]:
    """Start a pytest of its own over one test, without Docker and with these variables."""
    file = tmp_path / "test_inner.py"
    file.write_text(test)
    left_out = {"CI", "KAFKA_BOOTSTRAP", RUN_FOLDER, "PYTEST_XDIST_WORKER"}
    inherited = {name: value for name, value in os.environ.items() if name not in left_out}
    # Its run folders are its own, so that no other session on this machine clears them.
    apart = {"DOCKER_HOST": f"unix://{tmp_path}/no-docker.sock", "TMPDIR": str(tmp_path)}
    options = ["-c", str(ROOT / "pyproject.toml"), "-p", "conftest", "-s", "-p", "no:cacheprovider"]
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, str(file)],
        cwd=tmp_path,
        env=inherited | apart | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def outcome(tmp_path: Path, test: str, **environment: str) -> tuple[int, str]:
    with session(tmp_path, test, **environment) as pytest_process:
        text, _ = pytest_process.communicate(timeout=100)
        return pytest_process.returncode, text


def test_the_users_kafka_is_taken_as_it_is(tmp_path):
    code, text = outcome(tmp_path, ASKING, KAFKA_BOOTSTRAP="kafka.example:9092")
    assert code == 0
    assert "GOT kafka.example:9092 t" in text


def test_without_any_kafka_tests_skip_locally_with_the_reason_and_the_command(tmp_path):
    code, text = outcome(tmp_path, ASKING, STARLINGS_JAVA="/no/java")
    assert code == 0
    assert "1 skipped" in text
    assert "STARLINGS_JAVA=/no/java" in text
    assert "make setup" in text


def test_without_any_kafka_tests_fail_in_ci(tmp_path):
    code, text = outcome(tmp_path, ASKING, STARLINGS_JAVA="/no/java", CI="true")
    assert code == 1
    assert "no Apache Kafka for this test" in text


@pytest.mark.kafka
def test_brokers_of_a_killed_session_are_ended_by_the_next_one(tmp_path):
    told = tmp_path / "pid"
    with session(tmp_path, HANGING.format(told=str(told))) as killed:
        wait_until_sync(
            lambda: told.exists() and told.read_text(), timeout_s=90, message="the test hangs"
        )
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=20)
    orphan = psutil.Process(int(told.read_text()))
    assert orphan.is_running()
    outcome(tmp_path, "def test_nothing():\n    pass\n")
    wait_until_sync(
        lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE,
        message="the orphaned broker is ended",
    )
