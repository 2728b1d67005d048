"""Following a run to its end: as a story, as lines of JSON, or in silence."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Generator
from datetime import UTC, datetime, timedelta

from starlings.client import Client, RunHandle, RunView
from starlings.kafka.codec import Received
from starlings.messages import ConfigError

from .documents import fact_document
from .exits import Exit, exit_of
from .guard import complain
from .options import LATEST
from .printing import console, print_json_line
from .story import Told, tell

SILENCE_S = 4.0
FIRST_LOOK_S = 3_600.0


async def latest_run(client: Client) -> str:
    """Name the run that began last.

    Raises:
        ConfigError: there is none.
    """
    recent = await client.runs(since=datetime.now(UTC) - timedelta(seconds=FIRST_LOOK_S))
    runs = recent or await client.runs()
    if not runs:
        raise ConfigError(
            'there is no run in the log yet; ask for one: starlings run "Calculate 5 factorial"'
        )
    return runs[-1].run_id


async def run_named(client: Client, name: str) -> RunHandle:
    """Take hold of a run by its id, or of the latest one."""
    return client.run(await latest_run(client) if name == LATEST else name)


class Heard:
    """A run that notices when it hears nothing, and says so once."""

    def __init__(self, run: Told) -> None:
        self._run = run
        self.run_id = run.run_id

    async def records(self) -> AsyncGenerator[Received]:
        """Deliver the run's facts."""
        loop = asyncio.get_running_loop()
        note = loop.call_later(SILENCE_S, complain, self._silence())
        try:
            async with contextlib.aclosing(self._run.records()) as records:
                async for received in records:
                    note.cancel()
                    yield received
        finally:
            note.cancel()

    def _silence(self) -> str:
        return (
            f"nothing of run {self.run_id} is in the log yet; waiting (a model may take its time; "
            "`starlings doctor` tells whether a planner and a coordinator are at work)"
        )


async def follow(
    run: Told, *, wait_s: float | None = None, lines: bool = False, silent: bool = False
) -> RunView:
    """Follow a run to its end, or as long as is waited; what was seen tells which."""
    view = RunView(run.run_id)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            if lines or silent:
                await _in_silence(Heard(run), view, lines=lines)
            else:
                await tell(console(), Heard(run), view)
    return view


async def _in_silence(run: Heard, view: RunView, *, lines: bool) -> None:
    async with contextlib.aclosing(run.records()) as records:
        async for received in records:
            view.add(received)
            if lines:
                print_json_line(fact_document(received))


def end(view: RunView) -> Exit:
    """Say the exit code of a command that followed a run, and what to do where it goes on."""
    if view.done is None:
        complain(f"run {view.run_id} has not ended yet; {how_to_go_on(view.run_id)}")
    return exit_of(view.done)


def how_to_go_on(run_id: str) -> str:
    """Say what one can do about a run that goes on."""
    return f"follow it or end it:\n  starlings watch {run_id}\n  starlings cancel {run_id}"


@contextlib.contextmanager
def leaving(what_then: str) -> Generator[None]:
    """Say on Ctrl-C, which arrives here as a cancellation, what becomes of the run."""
    try:
        yield
    except asyncio.CancelledError:
        complain(what_then)
        raise


def goes_on(run_id: str) -> str:
    """Say on leaving that nothing has been stopped."""
    return f"run {run_id} goes on; {how_to_go_on(run_id)}"
