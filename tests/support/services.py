"""The services of the system as real processes, over a topic prefix of the test's own.

    async def test_…(services):
        services.start("coordinator", "planner", "math", "string")
        async with services.client() as client:
            run = await client.submit("…")
        services.kill("coordinator")            # SIGKILL
        services.start("coordinator")           # again, or a second one: it is "coordinator-2" then

A program is `coordinator`, `planner`, the name of a built-in agent, or an agent of the test's own
as `module:agent` or `folder/file.py:agent` (`folder/file.py`: all that it holds, in one process).
What was started is ended by its process id, also where the test fails; the end of its log is told
where it did not become ready.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlings.client import Client
from starlings.kafka.admin import ensure_topics
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.messages import Topics
from starlings.service import ServiceSettings

from .waiting import wait_until_sync

READY_WITHIN_S = 90.0
_LISTENS = re.compile(rb"health endpoints listen.*?http://127\.0\.0\.1:([0-9]+)[^0-9]")
STOP_WITHIN_S = 30.0
PARTITIONS = 4
TAIL_LINES = 40
#: The last one: whoever starts dozens of processes wants them to be compiled once.
_NOT_INHERITED = ("KAFKA_", "STARLINGS_", "OPENAI_", "OTEL_", "PYTHONDONTWRITEBYTECODE")


@dataclass
class Started:
    """A process that was started."""

    process: subprocess.Popen[bytes]
    log: Path
    logged: int  # bytes, by processes of this name before

    @property
    def health_port(self) -> int | None:
        """Where it tells of itself: a port that it has found, and says in its log."""
        with self.log.open("rb") as lines:
            lines.seek(self.logged)
            found = _LISTENS.search(lines.read())
        return int(found[1]) if found else None


class Services:
    """Starts services, kills and stops them."""

    def __init__(self, kafka: Mapping[str, str], topics: Topics, folder: Path) -> None:
        self.kafka = dict(kafka)
        self.topics = topics
        self.folder = folder
        self.blobs_url = (folder / "blobs").as_uri()
        self.running: dict[str, Started] = {}
        #: What every process is told, a command line that a test runs too.
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(_NOT_INHERITED)},
            **self.kafka,
            "STARLINGS_TOPIC_PREFIX": topics.prefix,
            "STARLINGS_PARTITIONS": str(PARTITIONS),
            "STARLINGS_BLOBS_URL": self.blobs_url,
            "STARLINGS_LOG_FORMAT": "pretty",
        }

    def start(self, *programs: str, env: Mapping[str, str] | None = None) -> list[str]:
        """Start programs side by side and wait until all are ready; return their names."""
        names = [self.spawn(program, env=env) for program in programs]
        self.wait_ready(*names)
        return names

    def wait_ready(self, *names: str) -> None:
        """Wait until processes say that they are ready."""
        for name in names:
            wait_until_sync(
                lambda name=name: self._is_ready(name),
                timeout_s=READY_WITHIN_S,
                message=f"{name} is ready; see {self.running[name].log}",
            )

    def kill(self, name: str) -> None:
        """End a process as a crash would."""
        self._end(name, signal.SIGKILL)

    def stop(self, name: str) -> int:
        """Ask a process to stop, and return its exit code."""
        return self._end(name, signal.SIGTERM)

    def wait_end(self, name: str) -> int:
        """Wait until a process ends by itself, and return its exit code."""
        return self._wait(self.running.pop(name).process)

    def stop_all(self) -> dict[str, int]:
        """End everything that was started: asked first, killed where that does not help."""
        for started in self.running.values():
            started.process.terminate()  # a second signal would end it at once
        return {name: self.wait_end(name) for name in list(self.running)}

    def pid(self, name: str) -> int:
        """Tell a process's id."""
        return self.running[name].process.pid

    def log(self, name: str) -> str:
        """Read a process's log, also after its end."""
        return self._log_file(name).read_text(encoding="utf-8", errors="replace")

    def tail(self, name: str) -> str:
        """Read the end of a process's log."""
        return "\n".join(self.log(name).splitlines()[-TAIL_LINES:])

    def kafka_settings(self) -> KafkaSettings:
        """Read how to connect from what the processes are told, not from our own environment."""
        given = {name.removeprefix("KAFKA_").lower(): v for name, v in self.kafka.items()}
        return KafkaSettings(**given)

    def connection(self) -> Connection:
        """Make a connection of this installation."""
        return Connection(self.kafka_settings(), client_id="test")

    def client(self) -> Client:
        """Make a client of this installation."""
        settings = ServiceSettings(topic_prefix=self.topics.prefix, blobs_url=self.blobs_url)
        return Client(kafka=self.kafka_settings(), settings=settings)

    def spawn(self, program: str, *, env: Mapping[str, str] | None = None) -> str:
        """Start a program without waiting for it; return its name."""
        name = self._free_name(program)
        log = self._log_file(name)
        with log.open("ab") as output:
            logged = output.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", *_module(program)],
                env={**self.env, **(env or {}), "STARLINGS_HEALTH_PORT": "0"},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.running[name] = Started(process, log, logged)
        return name

    def _log_file(self, name: str) -> Path:
        return self.folder / f"{name.replace('/', '_').replace(':', '_')[-100:]}.log"

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
        if (port := started.health_port) is None:
            return False
        try:
            url = f"http://127.0.0.1:{port}/readyz"
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
        return self._wait(process)

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        try:
            return process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(STOP_WITHIN_S)


def _module(program: str) -> list[str]:
    if program in ("coordinator", "planner"):
        return [f"starlings_{program}"]
    if ":" in program or program.endswith(".py"):
        return ["starlings.agents", program]
    return ["starlings_agents", program]


@contextlib.asynccontextmanager
async def running_services(
    kafka: str | Mapping[str, str], topics: Topics, folder: Path
) -> AsyncGenerator[Services]:
    """Have the core topics and a starter of services; all is stopped at the end of the block.

    `kafka` is an address, or the KAFKA_ variables with which to connect.
    """
    services = Services(
        {"KAFKA_BOOTSTRAP": kafka} if isinstance(kafka, str) else kafka, topics, folder
    )
    services.env["STARLINGS_ENSURE_TOPICS"] = "true"  # agents bring their own topic
    specs = topics.core_specs(partitions=PARTITIONS)
    await ensure_topics(services.connection(), specs, replication=1)
    try:
        yield services
    finally:
        services.stop_all()
