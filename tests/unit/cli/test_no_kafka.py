from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

NEEDING_KAFKA = [
    ["run", "Calculate 5 factorial"],
    ["emit", "ticket_created", "{}"],
    ["runs"],
    ["show", "latest"],
    ["watch", "r1"],
    ["output"],
    ["cancel", "r1"],
    ["agents"],
    ["topics", "ensure"],
    ["topics", "check"],
    ["topics", "ls"],
    ["plan", "Calculate 5 factorial"],
]


@pytest.fixture
def nowhere(monkeypatch) -> str:
    """An address at which nothing answers, for sure, while this test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("KAFKA_BOOTSTRAP", address)
        monkeypatch.setattr("starlings.cli.reach.CONNECT_WITHIN_S", 0.0)
        yield address


@pytest.mark.parametrize("argv", NEEDING_KAFKA, ids=" ".join)
def test_without_kafka_one_line_names_the_setting_and_the_command(starlings, nowhere, argv):
    assert starlings(*argv) == 2
    assert starlings.stdout == ""
    assert f"KAFKA_BOOTSTRAP={nowhere}" in starlings.stderr
    assert "starlings broker up" in starlings.stderr
    assert starlings.stderr.count("\n") == 1


def test_the_doctor_says_that_kafka_fails_and_what_else_is_fine(starlings, nowhere):
    assert starlings("doctor") == 1
    assert "FAIL  kafka" in starlings.stdout
    assert "ok    python" in starlings.stdout
    assert "warn  model" in starlings.stdout
    assert starlings("doctor", "--json") == 1
    verdicts = {finding["what"]: finding["verdict"] for finding in starlings.document}
    assert verdicts["kafka"] == "fail"
    assert verdicts["python"] == "ok"


def test_a_wrong_setting_is_named(starlings, monkeypatch):
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    assert starlings("runs") == 2
    assert "KAFKA_SASL_" in starlings.stderr
    monkeypatch.undo()


def test_the_broker_says_that_it_is_not_there(starlings):
    assert starlings("broker", "status") == 1
    assert "no broker runs" in starlings.stdout
    assert starlings("broker", "status", "--json") == 1
    assert starlings.document["status"] == "stopped"
    assert starlings("broker", "down") == 0
    assert starlings("broker", "logs") == 2
    assert "starlings broker up" in starlings.stderr


def test_a_reset_asks_before_it_deletes(starlings):
    assert starlings("broker", "reset", stdin="n\n") == 1
    assert "Delete all topics and messages" in starlings.stderr
    assert starlings("broker", "reset", "--yes") == 0


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "starlings.cli", "broker", "status", "--json"],
        stdout=writing,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "STARLINGS_BROKER_DATA": str(tmp_path / "broker")},
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
