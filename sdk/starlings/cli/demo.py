"""`starlings demo`: the whole system once, on this machine, with a real Kafka.

Starts what production has (a broker, the planner, the coordinator, one process per agent), sends
one request, shows how it is worked off, and stops all that it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Generator
from pathlib import Path

from rich.console import Console

from starlings.client import Client, RunView
from starlings.messages import RunOutcome

from .system import (
    ResolvedBroker,
    builtin_programs,
    model_description,
    resolve_broker,
    whole_system,
)

REQUEST = (
    "Calculate 10 times 5 and count words in 'Hello World', "
    "then multiply the word count by the calculation result"
)
RESULT_WITHIN_S = 120.0
LOGS = Path(".starlings") / "logs"


async def demo(console: Console, request: str = REQUEST) -> int:
    """Run the demo; return the exit code."""
    began = time.monotonic()
    heading(console, "Starlings: plans of AI agents, as choreography on Kafka")
    broker = await asyncio.to_thread(resolve_broker, progress=lambda text: console.print(f"  {text}", style="dim"))
    try:
        console.print(f"  broker  {broker.description}", highlight=False)
        console.print(f"  model   {model_description()}", highlight=False)
        return await _with_services(console, broker, request, began)
    finally:
        await asyncio.to_thread(broker.close)
        console.print("\nStopped all that was started here.", style="dim")
