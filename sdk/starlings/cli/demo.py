"""`starlings demo`: the whole system once, on this machine, with a real Kafka.

Starts what production has (a broker, the planner, the coordinator, one process per agent), sends
one request, shows how it is worked off, and stops all that it started.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.text import Text

from starlings.broker import ResolvedBroker, default_data_folder, resolve_broker
from starlings.client import Client, RunView
from starlings.messages import RunOutcome, StarlingsError

from .dev import stop_signals
from .exits import Exit
from .printing import say
from .story import tell
from .system import model_description, programs, whole_system

REQUEST = (
    "Calculate 10 times 5 and count words in 'Hello World', "
    "then multiply the word count by the calculation result"
)
AGENTS = ("math", "string", "weather")  # what the offline rules know, each in its own process
RESULT_WITHIN_S = 120.0


async def demo(console: Console, request: str = REQUEST) -> int:
    """Run the demo; return the exit code."""
    console.print("[bold]Starlings[/bold]: plans of AI agents, as choreography on Kafka\n")
    broker = await asyncio.to_thread(resolve_broker, progress=lambda text: _say(console, "", text))
    try:
        _say(console, "broker", broker.description)
        _say(console, "model", model_description())
        async with stop_signals() as stop:
            story = asyncio.create_task(_with_services(console, broker, request))
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait({story, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if not story.done():
                story.cancel()
                await asyncio.gather(story, return_exceptions=True)
                return Exit.INTERRUPTED
            return await story
    finally:
        await asyncio.to_thread(broker.close)
        console.print("\nEverything that was started here is stopped.", style="dim")


async def _with_services(console: Console, broker: ResolvedBroker, request: str) -> int:
    agents = programs(AGENTS)
    began = time.monotonic()
    try:
        with Logs(default_data_folder().parent / "logs") as logs:
            async with whole_system(agents, broker, logs) as supervisor:
                names = ", ".join(
                    f"{n} (pid {r.process.pid})" for n, r in supervisor.running.items()
                )
                _say(console, "started", f"{names} in {time.monotonic() - began:.1f} s")
                _say(console, "logs", str(logs.folder))
                return await _one_request(console, request)
    except StarlingsError as error:
        console.print(Text(f"starlings demo: {error}", style="red"))
        return Exit.FAILED


async def _one_request(console: Console, request: str) -> int:
    async with Client() as client:
        console.print(f"\n[bold]Request[/bold]  {request}\n", highlight=False)
        run = await client.submit(request)
        async with asyncio.timeout(RESULT_WITHIN_S):
            view = await tell(console, run)
        _say_where(console, client, view)
    done = view.done
    return Exit.OK if done is not None and done.outcome is RunOutcome.COMPLETED else Exit.FAILED


def _say_where(console: Console, client: Client, view: RunView) -> None:
    first, last = view.first, view.last
    if first is None or last is None:
        return
    topics = client.topics
    console.print("\n[bold]Where this lies on Kafka[/bold]")
    place = (
        f"partition {first.origin.partition}, offsets {first.origin.offset} to {last.origin.offset}"
    )
    _say(console, "facts", f"{view.facts} in {topics.events}, {place}")
    agents = sorted({step.spec.agent for step in view.run.order}) if view.run else []
    _say(console, "work", ", ".join(topics.steps(agent) for agent in agents))
    console.print("\n[bold]What to try next[/bold]")
    tries = (
        ("starlings dev", "the whole system until Ctrl-C; then, in another terminal:"),
        ('starlings run "Calculate 5 factorial"', "ask for something else"),
        (f"starlings show {view.run_id}", "look at this run again"),
        ("starlings dev examples/shop.py:shop", "with an agent of your own"),
        ("starlings new agent orders", "begin one: a folder with its test, image and values"),
    )
    for command, what in tries:
        say(console, Text(what, style="dim"), head=f"  {command:<38}  ", style="green")


def _say(console: Console, label: str, text: str) -> None:
    say(console, Text(text), head=f"  {label:<9} ", style="bold")


class Logs:
    """Keeps the output of processes in files, one each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in self.folder.glob("*.log"):
            old.unlink()
        return self

    def __exit__(self, *_exc: object) -> None:
        """Leave the files where they are, for who wants to read them."""

    def __call__(self, name: str, line: str) -> None:
        """Write one line of a process."""
        with (self.folder / f"{name.replace(' ', '-')}.log").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
