"""Starting the system's processes for `demo` and `dev`, and stopping every one of them again.

Each service is a process of its own, as in production: the same programs, told by environment
variables. They are stopped by their process id, in the reverse order of their start, also when
something goes wrong on the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from starlings.broker.ports import free_port
from starlings.messages import StarlingsError

READY_WITHIN_S = 120.0
STOP_WITHIN_S = 30.0
LOOK_EVERY_S = 0.05
TAIL_LINES = 30
LINE_LIMIT = 1 << 20

Sink = Callable[[str, str], None]  # name of the process, one line of its output


class ProcessFailed(StarlingsError):  # noqa: N818 - says what is the case
    """A process ended that should not have, or never became ready."""

    code = "process_failed"


@dataclass
class Service:
    """A program to run: its name, how it is called, what it is told."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def module(cls, name: str, module: str, **env: str) -> Service:
        """Name a program that is a Python module."""
        return cls(name, [sys.executable, "-m", module], env)

    @classmethod
    def agents(cls, name: str, specs: Sequence[str]) -> Service:
        """Name a program that runs agents, by their `module:agent`.

        What they keep on topics of their own (the knowledge base) they may create there.
        """
        argv = [sys.executable, "-m", "starlings.agents", *specs]
        return cls(name, argv, {"STARLINGS_ENSURE_TOPICS": "true"})


@dataclass
class Running:
    """A process that was started here."""

    service: Service
    process: asyncio.subprocess.Process
    health_port: int
    pump: asyncio.Task[None]
    tail: list[str]

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None


class Supervisor:
    """Starts, watches and stops processes."""

    def __init__(self, env: Mapping[str, str], sink: Sink) -> None:
        self._env = env
        self._sink = sink
        self.running: dict[str, Running] = {}
        self._restarting: set[str] = set()

    async def start(self, service: Service) -> Running:
        """Start a process; it is not ready yet."""
        port = free_port()
        env = {**os.environ, **self._env, **service.env, "STARLINGS_HEALTH_PORT": str(port)}
        process = await asyncio.create_subprocess_exec(
            *service.argv,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours to pass on, in the right order
            limit=LINE_LIMIT,
        )
        tail: list[str] = []
        pump = asyncio.create_task(self._pump(service.name, process, tail))
        running = self.running[service.name] = Running(service, process, port, pump, tail)
        return running

    async def ready(self, names: Sequence[str], *, within_s: float = READY_WITHIN_S) -> None:
        """Wait until processes say that they are ready.

        Raises:
            ProcessFailed: one ended or took too long, with the last lines that it wrote.
        """
        until = time.monotonic() + within_s
        waiting = list(names)
        while waiting:
            name = waiting[0]
            running = self.running[name]
            if not running.alive:
                raise ProcessFailed(
                    f"{name} ended (exit code {running.process.returncode})" + _said(running)
                )
            if await asyncio.to_thread(_is_ready, running.health_port):
                waiting.pop(0)
            elif time.monotonic() > until:
                raise ProcessFailed(f"{name} is not ready after {within_s:.0f} s" + _said(running))
            else:
                await asyncio.sleep(LOOK_EVERY_S)

    def check(self) -> None:
        """Notice a process that ended by itself.

        Raises:
            ProcessFailed: with the last lines that it wrote.
        """
        for name, running in self.running.items():
            if not running.alive and name not in self._restarting:
                code = running.process.returncode
                raise ProcessFailed(f"{name} ended (exit code {code})" + _said(running))

    @contextmanager
    def restarting(self, name: str) -> Generator[None]:
        """Have a process's end not noticed while it is being started again."""
        self._restarting.add(name)
        try:
            yield
        finally:
            self._restarting.discard(name)

    def forget(self, name: str) -> None:
        """Have a process's end not noticed until it is started again."""
        self.running.pop(name, None)

    async def stop(self, name: str, *, within_s: float = STOP_WITHIN_S) -> int | None:
        """Stop one process: SIGTERM, and SIGKILL after the grace; return its exit code."""
        running = self.running.pop(name, None)
        if running is None:
            return None
        if running.alive:
            with contextlib.suppress(ProcessLookupError):
                running.process.terminate()
            try:
                async with asyncio.timeout(within_s):
                    await running.process.wait()
            except TimeoutError:
                running.process.kill()
                await running.process.wait()
        await asyncio.gather(running.pump, return_exceptions=True)
        return running.process.returncode

    async def stop_all(self) -> dict[str, int | None]:
        """Stop everything at once, and tell the exit codes."""
        names = list(reversed(self.running))
        codes = await asyncio.gather(*(self.stop(name) for name in names))
        return dict(zip(names, codes, strict=True))

    async def _pump(self, name: str, process: asyncio.subprocess.Process, tail: list[str]) -> None:
        if process.stdout is None:
            return
        async for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip("\n")
            tail.append(line)
            del tail[:-TAIL_LINES]
            self._sink(name, line)


@asynccontextmanager
async def supervising(env: Mapping[str, str], sink: Sink) -> AsyncGenerator[Supervisor]:
    """Have a supervisor; whatever it has started is stopped at the end of the block."""
    supervisor = Supervisor(env, sink)
    try:
        yield supervisor
    finally:
        await asyncio.shield(supervisor.stop_all())


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
    except (urllib.error.URLError, OSError):
        return False


def _said(running: Running) -> str:
    return ":\n" + "\n".join(f"    {line}" for line in running.tail) if running.tail else ""
