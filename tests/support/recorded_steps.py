"""A recorded run with a step of an agent of one's own, as an archive; its code lies beside it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from starlings.agents.execute import execute
from starlings.agents.loading import load_agents
from starlings.blobs import BlobStore
from starlings.choreography import Ledger, Position
from starlings.choreography.outputs import step_ready
from starlings.kafka.codec import Codec
from starlings.messages import (
    Message,
    Plan,
    PlanCreated,
    StepDone,
    StepReady,
    StepScheduled,
    Topics,
    attempt_id,
    message_id,
    run_key,
    step_key,
)

from .golden.records import write_archive

RUN = "r1"
AGENT = "shop.py:agent"
TOPICS = Topics("starlings.")

CODE = """
from pathlib import Path

from starlings import Agent, StepContext

agent = Agent("shop", description="Buys")


def told(name: str) -> str:
    return Path(name).read_text() if Path(name).exists() else ""


def bought(what: str) -> dict:
    with Path("bought.txt").open("a") as file:
        file.write(what + "\\n")
    return {"what": what, "price": 3}


@agent.step
async def buy(task: str, ctx: StepContext) -> dict:
    got = await ctx.once("buy", lambda: bought(ctx.task))
    Path("replaying.txt").write_text(str(ctx.replaying))
    if told("broken.txt"):
        raise ValueError("no change left")
    rate = int(told("rate.txt") or 1)
    return {"what": got["what"], "price": got["price"] * rate, "with": sorted(ctx.results)}
"""

PLAN = Plan.model_validate(
    {
        "steps": [
            {"id": "tea", "agent": "shop", "task": "tea"},
            {"id": "cup", "agent": "shop", "task": "cup", "depends_on": ["tea"]},
        ]
    }
)


@dataclass
class Recorder:
    """Records a run as a coordinator and an agent would."""

    folder: Path
    plan: Plan = PLAN
    run: str = RUN
    records: list[ConsumerRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.code = self.folder / "shop.py"
        if not self.code.exists():
            self.code.write_text(CODE)
        self.codec = Codec(
            source="test", blobs=BlobStore((self.folder / "blobs").as_uri()), now_ms=lambda: 1_000
        )
        self._ledger = Ledger()
        self._offsets: dict[str, int] = {}

    def say(self, fact: Message, ident: str) -> None:
        """Write a fact, and fold it."""
        at = self._write(TOPICS.events, run_key(self.run), fact, ident)
        self._ledger.fold(Position(at, 1_000), fact)

    def begin(self) -> None:
        """Write the plan."""
        created = PlanCreated(run_id=self.run, plan=self.plan)
        self.say(created, message_id(self.run, created.NAME))

    def release(self, step_id: str, *, work: bool = True) -> StepReady:
        """Write what a step is given, unless retention has deleted it by now."""
        run = self._ledger.runs[self.run]
        ready = step_ready(run, run.steps[step_id])
        ident = attempt_id(self.run, step_id, ready.attempt, "step_ready")
        if work:
            topic = TOPICS.steps(ready.agent, ready.variant)
            self._write(topic, step_key(self.run, step_id), ready, ident)
        scheduled = StepScheduled(
            run_id=self.run, step_id=step_id, attempt=ready.attempt, agent=ready.agent
        )
        self.say(scheduled, attempt_id(self.run, step_id, ready.attempt, scheduled.NAME))
        return ready

    def end(self, done: StepDone) -> None:
        """Write how an attempt ended."""
        self.say(done, attempt_id(self.run, done.step_id, done.attempt, done.NAME))

    def do(self, step_id: str, *, work: bool = True, **changes: Any) -> StepDone:
        """Have a step done by the agent, and write all of it."""
        ready = self.release(step_id, work=work)
        here = Path.cwd()
        os.chdir(self.folder)
        try:
            done = asyncio.run(execute(load_agents(f"{self.code}:agent")[0], ready))
        finally:
            os.chdir(here)
        done = done.model_copy(update=changes)
        self.end(done)
        return done

    def archive(self, records: Sequence[ConsumerRecord] | None = None, *, begin: int = 0) -> str:
        """Write all of it, or some records, as an archive."""
        path = self.folder / "run.jsonl"
        return str(write_archive(path, self.records if records is None else records, begin=begin))

    def _write(self, topic: str, key: bytes, message: Message, ident: str) -> int:
        value, headers = asyncio.run(self.codec.encode(message, id=ident, subject=self.run))
        offset = self._offsets.get(topic, 0)
        self._offsets[topic] = offset + 1
        fields = {"topic": topic, "partition": 0, "offset": offset, "timestamp": 1_000}
        more = {"timestamp_type": 1, "checksum": None}
        sizes = {"serialized_key_size": -1, "serialized_value_size": -1}
        record = ConsumerRecord(
            **fields, **more, **sizes, key=key, value=value, headers=tuple(headers)
        )
        self.records.append(record)
        return offset


def recorder_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Have a recorder in an empty folder, and forget what agents of such were loaded before."""
    monkeypatch.setenv("STARLINGS_BLOBS_URL", (folder / "blobs").as_uri())
    for name in [name for name, module in sys.modules.items() if _is_of(module, folder)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    return Recorder(folder)


def _is_of(module: object, folder: Path) -> bool:
    return str(getattr(module, "__file__", None) or "").startswith(str(folder))


def recorded(recorder: Recorder, **options: Any) -> str:
    """Record both steps, forget what they did to the world, and return the archive."""
    recorder.begin()
    recorder.do("tea", **options)
    recorder.do("cup", **options)
    (recorder.folder / "bought.txt").unlink()
    return recorder.archive()
