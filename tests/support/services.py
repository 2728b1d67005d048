"""The services of the system as real processes, over a topic prefix of the test's own.

    async def test_…(services):
        services.start("coordinator", "planner", "math", "string")
        async with services.client() as client:
            run = await client.submit("…")
        services.kill("coordinator")            # SIGKILL
        services.start("coordinator")           # again, or a second one: it is "coordinator-2" then

A program is `coordinator`, `planner`, the name of a built-in agent, or an agent of the test's own
as `module:agent` or `folder/file.py:agent`. What was started is ended by its process id, also where
the test fails; the end of its log is told where it did not become ready.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlings.broker.properties import free_port
from starlings.client import Client
from starlings.kafka.admin import ensure_topics
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.messages import Topics
from starlings.service import ServiceSettings

from .waiting import wait_until_sync

READY_WITHIN_S = 90.0
STOP_WITHIN_S = 30.0
PARTITIONS = 4
TAIL_LINES = 40
_NOT_INHERITED = ("KAFKA_", "STARLINGS_", "OPENAI_")


@dataclass
class Started:
    """A process that was started."""

    process: subprocess.Popen[bytes]
    log: Path
    health_port: int


class Services:
    """Starts services, kills and stops them."""

    def __init__(self, bootstrap: str, topics: Topics, folder: Path) -> None:
        self.bootstrap = bootstrap
        self.topics = topics
        self.folder = folder
        self.blobs_url = (folder / "blobs").as_uri()
        self.running: dict[str, Started] = {}
        #: What every process is told, a command line that a test runs too.
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(_NOT_INHERITED)},
            "KAFKA_BOOTSTRAP": bootstrap,
            "STARLINGS_TOPIC_PREFIX": topics.prefix,
            "STARLINGS_PARTITIONS": str(PARTITIONS),
            "STARLINGS_BLOBS_URL": self.blobs_url,
            "STARLINGS_LOG_FORMAT": "pretty",
        }

    def start(self, *programs: str, env: Mapping[str, str] | None = None) -> list[str]:
        """Start programs side by side and wait until all are ready; return their names."""
        names = [self._spawn(program, env or {}) for program in programs]
        for name in names:
            wait_until_sync(
                lambda name=name: self._is_ready(name),
                timeout_s=READY_WITHIN_S,
                message=f"{name} is ready; see {self.running[name].log}",
            )
        return names

    def kill(self, name: str) -> None:
        """End a process as a crash would."""
        self._end(name, signal.SIGKILL)

    def stop(self, name: str) -> int:
        """Ask a process to stop, and return its exit code."""
        return self._end(name, signal.SIGTERM)

    def stop_all(self) -> None:
        """End everything that was started: asked first, killed where that does not help."""
        for started in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                started.process.terminate()
        for name in list(self.running):
            self._end(name, signal.SIGTERM)

    def pid(self, name: str) -> int:
        """Tell a process's id."""
        return self.running[name].process.pid

    def tail(self, name: str) -> str:
        """Read the end of a process's log."""
        text = self.running[name].log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-TAIL_LINES:])

    def client(self) -> Client:
        """Make a client of this installation."""
        settings = ServiceSettings(topic_prefix=self.topics.prefix, blobs_url=self.blobs_url)
        return Client(kafka=KafkaSettings(bootstrap=self.bootstrap), settings=settings)

    def _spawn(self, program: str, env: Mapping[str, str]) -> str:
        name = self._free_name(program)
        port = free_port()
        log = self.folder / f"{name.replace('/', '_').replace(':', '_')}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *_module(program)],
                env={**self.env, **env, "STARLINGS_HEALTH_PORT": str(port)},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.running[name] = Started(process, log, port)
        return name

    def _free_name(self, program: str) -> str:
        name, number = program, 1
        while name in self.running:
            number += 1
            name = f"{program}-{number}"
        return name

    def _is_ready(self, name: str) -> bool:
        started = self.running[name]
        code = started.process.poll()
        assert code is None, f"{name} ended with exit code {code}:\n{self.tail(name)}"
        try:
            url = f"http://127.0.0.1:{started.health_port}/readyz"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status == 200
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False

    def _end(self, name: str, number: signal.Signals) -> int:
        process = self.running.pop(name).process
        process.send_signal(number)
        try:
            return process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(STOP_WITHIN_S)


def _module(program: str) -> list[str]:
    if program in ("coordinator", "planner"):
        return [f"starlings_{program}"]
    if ":" in program:
        return ["starlings.agents", program]
    return ["starlings_agents", program]


@contextlib.asynccontextmanager
async def running_services(
    bootstrap: str, topics: Topics, folder: Path
) -> AsyncGenerator[Services]:
    """Have the core topics and a starter of services; all is stopped at the end of the block."""
    services = Services(bootstrap, topics, folder)
    services.env["STARLINGS_ENSURE_TOPICS"] = "true"  # agents bring their own topic
    connection = Connection(KafkaSettings(bootstrap=bootstrap), client_id="test")
    await ensure_topics(connection, topics.core_specs(partitions=PARTITIONS), replication=1)
    try:
        yield services
    finally:
        services.stop_all()
