"""The processes that are measured: started, watched, and stopped whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import psutil

from starlings.broker import LocalBroker
from starlings.broker.ports import free_port
from starlings.kafka.admin import ensure_topics
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.messages import Topics

PACKAGE = Path(__file__).parent
PARTITIONS = 4
READY_WITHIN_S = 90.0
STOP_WITHIN_S = 30.0
ASK_EVERY_S = 0.01
OTHERS, IDLE = "(others)", "(idle)"
ASK_WITHIN_S = 5.0


class NotAloneError(RuntimeError):
    """Something else answers where only the benchmark's own broker should."""


class ChildFailedError(RuntimeError):
    """A measured process ended or did not get ready."""


@contextmanager
def own_broker(folder: Path) -> Generator[LocalBroker]:
    """Run a broker over a fresh folder, and make sure that it is the one that answers."""
    with LocalBroker(folder / "broker") as broker:
        listening = {
            connection.laddr.port
            for connection in psutil.Process(broker.pid).net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        if broker.port not in listening:
            raise NotAloneError(f"port {broker.port} is not served by the broker that was started")
        yield broker


async def lay_out(bootstrap: str, topics: Topics, *agents: str) -> None:
    """Create the topics of one installation."""
    connection = Connection(KafkaSettings(bootstrap=bootstrap))
    specs = [spec for agent in agents for spec in topics.agent_specs(agent)]
    await ensure_topics(connection, [*topics.core_specs(partitions=PARTITIONS), *specs])


async def check_fresh(bootstrap: str) -> None:
    """Make sure that the cluster is new."""
    found = await Connection(KafkaSettings(bootstrap=bootstrap)).topic_names()
    if found:
        raise NotAloneError(
            f"the cluster at {bootstrap} is not new, it has topics: {sorted(found)}"
        )


@dataclass
class Child:
    """One measured process."""

    role: str
    process: subprocess.Popen[bytes]
    health_port: int
    log: Path
    started: float = field(default_factory=time.perf_counter)

    async def ready(self, wait_s: float = READY_WITHIN_S) -> float:
        """Wait until it says that it is ready; give the seconds since its start."""
        while time.perf_counter() - self.started < wait_s and self.process.poll() is None:
            if await asyncio.to_thread(self._is_ready):
                return time.perf_counter() - self.started
            await asyncio.sleep(ASK_EVERY_S)
        raise ChildFailedError(f"the {self.role} is not ready; its last lines:\n{self.tail()}")

    def _is_ready(self) -> bool:
        asking = HTTPConnection("127.0.0.1", self.health_port, timeout=ASK_WITHIN_S)
        try:
            asking.request("GET", "/readyz")
            return asking.getresponse().status == HTTPStatus.OK
        except OSError:
            return False
        finally:
            asking.close()

    def tail(self) -> str:
        """Give the last lines that it logged."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def logged(self, event: str) -> list[float]:
        """Give the times at which it logged this line, in seconds since the epoch."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                entry = json.loads(line)
                if entry.get("event") == event:
                    found.append(datetime.fromisoformat(entry["timestamp"]).timestamp())
        return found

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask it to stop; kill it where it does not."""
        self.process.terminate()
        try:
            self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()


class System:
    """Processes of one installation, on one broker under one prefix."""

    def __init__(
        self, bootstrap: str, topics: Topics, *, folder: Path, profile: Path | None
    ) -> None:
        self.bootstrap = bootstrap
        self.topics = topics
        self.children: dict[str, Child] = {}
        self._folder = folder
        self._profile = profile
        self._starts = 0

    def start(self, role: str, *, name: str = "", env: Mapping[str, str] | None = None) -> Child:
        """Start a process; a second one of a role goes by a name of its own."""
        port = free_port()
        self._starts += 1
        log = self._folder / f"{self.topics.prefix}{role}.{self._starts}.log"
        with log.open("wb") as lines:
            process = subprocess.Popen(
                [sys.executable, "-m", f"{PACKAGE.name}.{role}"],
                cwd=self._folder,
                env={**self._environment(port), **(env or {})},
                stdout=lines,
                stderr=lines,
            )
        child = self.children[name or role] = Child(role, process, port, log)
        return child

    def _environment(self, port: int) -> dict[str, str]:
        foreign = ("STARLINGS_", "KAFKA_")
        own = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        own.pop("PYTHONDONTWRITEBYTECODE", None)
        own |= {
            "PYTHONPATH": str(PACKAGE.parent),
            # as an installed package has it, whatever is set for this checkout
            "PYTHONPYCACHEPREFIX": str(self._folder / "bytecode"),
            "KAFKA_BOOTSTRAP": self.bootstrap,
            "STARLINGS_TOPIC_PREFIX": self.topics.prefix,
            "STARLINGS_LOG_FORMAT": "json",
            "STARLINGS_HEALTH_PORT": str(port),
            "STARLINGS_BLOBS_URL": (self._folder / "blobs").as_uri(),
        }
        if self._profile is not None:
            own["BENCH_PROFILE"] = str(self._profile)
        return own

    def stop(self) -> None:
        """Stop all that was started, the agents first."""
        while self.children:
            self.children.popitem()[1].stop()


@contextmanager
def running(system: System) -> Generator[System]:
    """Stop a system's processes at the end, however that comes."""
    try:
        yield system
    finally:
        system.stop()


@dataclass(frozen=True)
class Usage:
    """What a process has taken."""

    cpu_s: float
    rss_mib: float


def usage(processes: dict[str, int]) -> dict[str, Usage]:
    """Take the figures of processes, by name and id, and of what else the machine did."""
    taken = {}
    for name, pid in processes.items():
        process = psutil.Process(pid)
        times = process.cpu_times()
        rss_mib = process.memory_info().rss / 2**20
        taken[name] = Usage(times.user + times.system, rss_mib)
    machine = psutil.cpu_times()
    idle_s = machine.idle + getattr(machine, "iowait", 0.0)
    others_s = sum(machine[:8]) - idle_s - sum(one.cpu_s for one in taken.values())
    return {**taken, OTHERS: Usage(others_s, 0.0), IDLE: Usage(idle_s, 0.0)}
