"""Queries at work in this process, each in a task of its own, until somebody asks what became.

A query belongs to the instance that looks after its step: where the partition goes elsewhere,
nobody asks here any more, and after a while the query is ended. So nothing is left behind, and
nothing has to be told between instances.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from starlings import JobStatus, StepFailed
from starlings.messages import ErrorInfo, StarlingsError

from .scratch import scratch_folder
from .table import counted

UNASKED_S = 300.0
_SWEEP_S = 30.0

Work = Callable[[Path], Awaitable[dict[str, Any]]]


class Execution:
    """One query."""

    def __init__(
        self,
        work: Work,
        *,
        slots: asyncio.Semaphore,
        freed: Callable[[str], str],
        again: bool = False,
    ) -> None:
        self.again = again  # it may have been run before, here or elsewhere
        self.asked_at = time.monotonic()
        self.at_work = False
        self.status: JobStatus | None = None
        self._work = work
        self._slots = slots
        self._freed = freed
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            async with self._slots:
                self.at_work = True
                with tempfile.TemporaryDirectory(dir=scratch_folder()) as folder:
                    output = await self._work(Path(folder))
            self.status = JobStatus.succeeded(output, summary=summary_of(output))
        except Exception as error:
            self.status = JobStatus.failed(told(error, self._freed))


class Executions:
    """All queries of this process's loop, by key."""

    def __init__(self, at_once: int) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._at_work: dict[str, Execution] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    def find(self, key: str) -> Execution | None:
        """Find a query, and take note that somebody asked for it."""
        found = self._at_work.get(key)
        if found is not None:
            found.asked_at = time.monotonic()
        return found

    def begin(
        self, key: str, work: Work, freed: Callable[[str], str], *, again: bool = False
    ) -> Execution:
        """Begin a query, unless it is at work."""
        found = self.find(key)
        if found is None:
            found = self._at_work[key] = Execution(
                work, slots=self._slots, freed=freed, again=again
            )
            self._plan_sweep()
        return found

    async def end(self, key: str) -> None:
        """End a query and wait until it has ended; none of that key is no error."""
        found = self._at_work.pop(key, None)
        if found is not None:
            found.task.cancel()
            await asyncio.wait([found.task])

    def sweep(self, *, unasked_s: float = UNASKED_S) -> None:
        """End and forget what nobody asked for lately."""
        now = time.monotonic()
        for key, found in list(self._at_work.items()):
            if now - found.asked_at >= unasked_s:
                del self._at_work[key]
                found.task.cancel()

    def _plan_sweep(self) -> None:
        if self._sweeping is None:
            loop = asyncio.get_running_loop()
            self._sweeping = loop.call_later(_SWEEP_S, self._swept)

    def _swept(self) -> None:
        self._sweeping = None
        self.sweep()
        if self._at_work:
            self._plan_sweep()


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Executions] = WeakKeyDictionary()


def executions(at_once: int) -> Executions:
    """Give the queries of the running loop."""
    loop = asyncio.get_running_loop()
    if loop not in _by_loop:
        _by_loop[loop] = Executions(at_once)
    return _by_loop[loop]


async def within(seconds: float, doing: Awaitable[Any]) -> Any:
    """Await a statement within its time.

    Raises:
        StepFailed: `query_timeout`.
    """
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await doing
    except TimeoutError:
        if not limit.expired():
            raise
    raise StepFailed(
        f"the statement took longer than {seconds:g} s and was ended; ask for less, or raise "
        "`timeout_s` (up to STARLINGS_SQL_TIMEOUT_S)",
        code="query_timeout",
    )


def told(error: Exception, freed: Callable[[str], str]) -> ErrorInfo:
    """Describe a failure without its causes: a driver's words may hold its address."""
    ours = isinstance(error, StarlingsError)
    text = str(error) if ours else f"{type(error).__name__}: {error}"
    return ErrorInfo(
        code=error.code if isinstance(error, StarlingsError) else "query_failed",
        message=freed(text)[:4_000],
        retryable=error.retryable if isinstance(error, StarlingsError) else True,
    )


def summary_of(output: dict[str, Any]) -> str:
    """Say what came out in one line."""
    if not output["columns"]:
        return "done" if output["affected"] is None else f"{counted(output['affected'])} changed"
    names = ", ".join(column["name"] for column in output["columns"][:10])
    cut = ", and there are more" if output["truncated"] else ""
    return f"{counted(output['row_count'])}{cut}: {names}"
