"""A service as a process of its own: endpoints, signals and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from support.waiting import wait_until_sync

PROGRAM = Path(__file__).with_name("tiny_service.py")
PATIENCE_S = 60


class _Process:
    """A running tiny service, with the log lines it has written so far."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.log = folder / "log"
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("STARLINGS_")},
            **{f"STARLINGS_{name.upper()}": str(value) for name, value in settings.items()},
        }
        with self.log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM)], stderr=stderr, cwd=folder, env=environment
            )

    def lines(self) -> list[dict]:
        complete = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in complete if line.endswith("\n")]

    def logged(self, event: str) -> dict | None:
        return next((line for line in self.lines() if line["event"] == event), None)

    def wait_for(self, event: str) -> dict:
        return _wait_until(lambda: self.logged(event), f"log line {event!r}")

    def ask(self, path: str) -> tuple[int, str]:
        url = self.wait_for("health endpoints listen")["url"]
        answer = httpx.get(f"{url}{path}", timeout=10, trust_env=False)
        return answer.status_code, answer.text

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


def _wait_until(condition: Callable, what: str):
    return wait_until_sync(condition, timeout_s=PATIENCE_S, message=f"waiting for {what}")


@contextmanager
def _service(folder: Path, **settings: object) -> Iterator[_Process]:
    service = _Process(folder, **settings)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait(PATIENCE_S)


def test_a_service_answers_its_three_endpoints_and_ends_cleanly_on_sigterm(tmp_path):
    with _service(tmp_path) as service:
        service.wait_for("ready")
        assert service.ask("/healthz") == (200, "ok\n")
        assert service.ask("/readyz") == (200, "ok\n")
        assert "starlings_messages_handled_total 7.0" in service.ask("/metrics")[1]
        assert service.end() == 0
        assert service.logged("stopping")["signal"] == "SIGTERM"
        assert service.logged("stopped")["service"] == "tiny"


def test_a_blocked_loop_turns_healthz_to_503_and_shows_where_it_hangs(tmp_path):
    unblock = tmp_path / "unblock"
    with _service(tmp_path, tiny="block", unblock=unblock, heartbeat_limit_s=1) as service:
        service.wait_for("ready")
        _wait_until(lambda: service.ask("/healthz")[0] == 503, "503 from /healthz")
        assert service.ask("/readyz")[0] == 200
        stack = service.wait_for("the loop does not turn")["main_thread"]
        assert "_block_until_exists" in stack
        unblock.touch()
        _wait_until(lambda: service.ask("/healthz")[0] == 200, "200 from /healthz")
        assert service.end() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_it_at_once(tmp_path, number, code):
    with _service(tmp_path, tiny="ignore", grace_s=600) as service:
        service.wait_for("ready")
        service.process.send_signal(signal.SIGINT)
        service.wait_for("stopping")
        _wait_until(lambda: "stopping" in service.ask("/readyz")[1], "not ready while stopping")
        assert service.end(number) == code


def test_a_second_signal_ends_even_a_blocked_loop(tmp_path):
    with _service(tmp_path, tiny="block", unblock=tmp_path / "never", grace_s=600) as service:
        service.wait_for("ready")
        _wait_until(lambda: _signalled(service), "the end of a blocked process")
        assert service.process.returncode == 143


def _signalled(service: _Process) -> bool:
    service.process.send_signal(signal.SIGTERM)
    return service.process.poll() is not None


def test_work_in_hand_is_finished_within_the_grace_period(tmp_path):
    with _service(tmp_path, tiny="linger", grace_s=1) as service:
        service.wait_for("ready")
        assert service.end() == 0
        assert service.logged("work finished")


def test_work_that_outlasts_the_grace_period_is_left_behind_with_exit_1(tmp_path):
    with _service(tmp_path, tiny="ignore", grace_s=0) as service:
        service.wait_for("ready")
        assert service.end() == 1
        assert service.logged("the grace period is over, work is left behind")


def test_an_unexpected_error_is_logged_and_ends_it_with_1(tmp_path):
    with _service(tmp_path, tiny="crash") as service:
        assert service.process.wait(PATIENCE_S) == 1
        assert "the tiny service broke" in service.wait_for("the service failed")["exception"]


def test_a_wrong_environment_is_one_clear_line_and_exit_2(tmp_path):
    with _service(tmp_path, health_port="eighty") as service:
        assert service.process.wait(PATIENCE_S) == 2
        (line,) = service.log.read_text().splitlines()
        assert line.startswith("tiny: STARLINGS_HEALTH_PORT='eighty' is wrong")


@pytest.mark.parametrize("how", ["refuse", "refuse in a task"])
def test_a_setting_that_proves_wrong_at_work_is_exit_2_as_well(tmp_path, how):
    with _service(tmp_path, tiny=how, health_port="off") as service:
        assert service.process.wait(PATIENCE_S) == 2
        assert service.log.read_text().startswith("tiny: KAFKA_BOOTSTRAP=nowhere:9092")
