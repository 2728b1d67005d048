"""Record what every example writes on Kafka.

    PYTHONPATH=tests .venv/bin/python tests/golden/record_examples.py NAME…

Each example runs as people run it, offline, with every part a process; its log is kept as an
archive in `examples/`, with the work of its agents. A recorded log is history (`record.py`): record
an example anew when the example has changed, not when the code that decides has. Without a name all
that are missing are recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from support.example_model import (
    EXAMPLES,
    SCRIPTS,
    commands,
    example_model,
    offline,
    settings_with,
)
from support.services import Services, running_services
from support.waiting import wait_until

from starlings.broker import LocalBroker
from starlings.client import Client, RunNotFound
from starlings.messages import RunDone, Topics
from starlings.replay import ArchiveHeader, KafkaSource, create_archive, ranges_of

ARCHIVES = Path(__file__).parent / "examples"
WITHIN_S = 180.0
INSTANCE = "golden"  # no name of a machine


@dataclass(frozen=True)
class Example:
    """What runs, and what is asked for."""

    plans: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()  # beside those of its own file
    env: Mapping[str, str] = field(default_factory=dict)
    event: tuple[str, Mapping[str, Any]] | None = None
    approves: str = ""
    ends: str = "completed"


TICKET = {"number": 7, "customer": "Ada", "text": "my screen is black"}
STORED = {"STARLINGS_KNOWLEDGE_STORE": "store.sqlite"}
RECORDED: dict[str, Example] = {
    "approval": Example(("approval.yaml",), ("math", "string"), approves="ok"),
    "debate": Example(("roof.yaml",)),
    "durability": Example(("abandoned.yaml",), ("math", "string"), ends="compensation_failed"),
    "knowledge_cqrs": Example(
        ("learn.yaml", "ask.yaml"), ("knowledge", "knowledge_query"), env=STORED
    ),
    "planner_waves": Example(agents=("math", "string", "weather")),
    "prompt_chain": Example(("chain.yaml",), ("web_search",)),
    "research_react": Example(("question.yaml",)),
    "shop": Example(("shop.yaml",), (str(EXAMPLES / "shop.py"),)),
    "support_tickets": Example(event=("ticket_created", TICKET)),
    "travel": Example(("paris.yaml",)),
    "travel_saga": Example(("book_trip.yaml",), ends="compensated"),
    "warehouse_report": Example(("report.yaml",), ("sensor", "sql", "notify")),
    "write_review_edit": Example(("notice.yaml", "three_agents.yaml")),
}


async def record(name: str, bootstrap: str, folder: Path) -> None:
    """Run an example, and keep its log."""
    topics, example = Topics(f"{name}."), RECORDED[name]
    with contextlib.ExitStack() as stack:
        env = {**_settings(stack, name), **example.env}
        await _record(name, bootstrap, topics, folder=folder, env=env)


def _settings(stack: contextlib.ExitStack, name: str) -> dict[str, str]:
    """Have the models and the world outside of an example on this machine."""
    if (SCRIPTS / f"{name}.yaml").exists():
        return settings_with(stack.enter_context(example_model(name)), name)
    settings: dict[str, str] = {}
    if (EXAMPLES / name / "offline.env").exists():
        settings = offline().settings_of(EXAMPLES / name)
    return settings


async def _record(
    name: str, bootstrap: str, topics: Topics, *, folder: Path, env: Mapping[str, str]
) -> None:
    example = RECORDED[name]
    async with running_services(bootstrap, topics, folder) as services:
        services.env["STARLINGS_INSTANCE"] = INSTANCE
        files = sorted((EXAMPLES / name).glob("*.py"))
        own = [file for file in files if "Agent(" in file.read_text(encoding="utf-8")]
        services.start("coordinator", "planner", *map(str, own), *example.agents, env=env)
        async with services.client() as client:
            await _run(client, name, example)
        await _keep(services, name)


async def _run(client: Client, name: str, example: Example) -> None:
    for plan in example.plans:
        folder = EXAMPLES / name if (EXAMPLES / name).is_dir() else EXAMPLES
        read = yaml.safe_load((folder / plan).read_text(encoding="utf-8"))
        asked = read if "plan" in read else {"request": name, "plan": read}
        run = await client.submit(asked["request"], plan=asked["plan"], run_id=Path(plan).stem)
        if example.approves:
            asks = functools.partial(_asks, run, example.approves)
            await wait_until(asks, timeout_s=WITHIN_S, message="the run asks")
            await run.approve(example.approves, "looks right", given_by="Ann")
        _check(await run.result(timeout_s=WITHIN_S), example)
    if name == "planner_waves":
        for number, command in enumerate(commands(name)):
            run = await client.submit(command[-1], run_id=f"waves-{number}")
            _check(await run.result(timeout_s=WITHIN_S), example)
    if example.event is not None:
        run = await client.emit(*example.event, correlation_id="ticket-7", event_id="ticket-7")
        await wait_until(lambda: _has_heard(run), timeout_s=WITHIN_S, message="all have heard")


def _check(end: RunDone, example: Example) -> None:
    if end.outcome.value != example.ends:
        sys.exit(f"not recorded: it ended as {end.outcome.value}: {end.text}")


async def _asks(run: Any, step_id: str) -> bool:
    try:
        view = await run.view()
    except RunNotFound:
        return False
    return view.run is not None and view.run.steps[step_id].phase.value == "asking"


async def _has_heard(run: Any) -> bool:
    try:
        return len((await run.view()).chain.events) >= 4  # those of its README
    except RunNotFound:
        return False


async def _keep(services: Services, name: str) -> None:
    connection, topics = services.connection(), services.topics
    names = await connection.topic_names()
    kept = sorted(n for n in names if n == topics.events or topics.agent_of(n) is not None)
    ranges = [r for r in await ranges_of(connection, kept) if r.end > r.first]
    path = ARCHIVES / f"{name}.jsonl.gz"
    with create_archive(path, ArchiveHeader(prefix=topics.prefix, ranges=ranges)) as archive:
        async for found in KafkaSource(connection, ranges, by_time=True).records():
            archive.write(found)
    path.chmod(0o644)


async def main(names: list[str]) -> None:
    """Record examples, one after the other, on a broker of their own."""
    ARCHIVES.mkdir(exist_ok=True)
    os.environ["STARLINGS_INSTANCE"] = INSTANCE
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, LocalBroker(Path(folder) / "kafka") as broker:
        broker.start()
        for name in names:
            print(name, file=sys.stderr, flush=True)  # noqa: T201 - a script
            home = Path(folder) / name
            home.mkdir()
            with offline().outside():
                await record(name, broker.bootstrap, home)


if __name__ == "__main__":
    missing = [name for name in RECORDED if not (ARCHIVES / f"{name}.jsonl.gz").exists()]
    asyncio.run(main(sys.argv[1:] or missing))
