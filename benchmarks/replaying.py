"""How fast recorded runs are verified, and walked through: `python -m benchmarks.replaying`.

The log is made by the core itself, in memory, and is the same every time: runs of 10 steps in
chains of 5, of which every fifth step is short (one fact) and the others are released, begun and
done (three facts), each with a small output that the next step gets; and one run of 5,000 steps.
Reading from Kafka or a file is not in the figures, decoding is. What is measured is time of one
core (CPU time), so that it says the same on a machine that is busy otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Sequence

import psutil
from aiokafka import ConsumerRecord

from starlings.blobs import BlobStore
from starlings.choreography import Ledger, Position, confirmation_for, message_for
from starlings.kafka.codec import Codec
from starlings.messages import (
    Message,
    Plan,
    PlanCreated,
    RunDone,
    Step,
    StepDone,
    StepOutcome,
    StepReady,
    StepStarted,
    Topics,
)
from starlings.replay import Range
from starlings.replay.entries import EntryReader
from starlings.replay.travel import Travel
from starlings.replay.verify import verify

EVENTS_LEAST = 20_000  # a second
OPEN_MOST_S = 2.0
BACK_MOST_S = 0.5
BEGIN_MS = 1_790_000_000_000
CHAIN = 5
TOPICS = Topics()
CODEC = Codec(source="starlings/coordinator/bench", blobs=BlobStore("file:///nonexistent"))


class Log:
    """A log of one partition, written by the core and by agents that do every step."""

    def __init__(self) -> None:
        self.records: list[ConsumerRecord] = []
        self._ledger = Ledger()
        self._ledger.finish_recovery()

    def run(self, run_id: str, steps: int) -> None:
        """Let a run come to its end."""
        plan = [
            Step(
                id=f"s{n}",
                agent="math",
                task=f"add {{{{steps.s{n - 1}.output}}}} and 1" if n % CHAIN else "count",
                depends_on=[f"s{n - 1}"] if n % CHAIN else [],
            )
            for n in range(steps)
        ]
        fact = PlanCreated(run_id=run_id, request="count", plan=Plan(steps=plan))
        self._write(f"{run_id}/plan_created", fact)

    def _write(self, ident: str, fact: Message) -> None:
        todo = [(ident, fact)]
        while todo:
            ident, fact = todo.pop(0)
            place = Position(len(self.records), BEGIN_MS + len(self.records))
            for sent_as, message in self._append(place, ident, fact):
                todo += _done(message) if isinstance(message, StepReady) else [(sent_as, message)]

    def _append(self, place: Position, ident: str, fact: Message) -> list[tuple[str, Message]]:
        run_id = str(getattr(fact, "run_id", ""))
        cause = _cause(ident)
        value, headers = CODEC.write(fact, id=ident, subject=run_id, causation_id=cause)
        record = ConsumerRecord(
            *(TOPICS.events, 0, place.offset, place.at_ms, 1),
            *(run_id.encode(), value, None, -1, -1, tuple(headers)),
        )
        self.records.append(record)
        if isinstance(fact, RunDone):
            self._ledger.end(place, run_id, 0)
            return []
        change = self._ledger.fold(place, fact)
        run = self._ledger.runs[run_id]
        published: list[tuple[str, Message]] = []
        for decision in getattr(change, "decisions", ()):
            message = message_for(run, decision)
            confirmation = confirmation_for(run, decision)
            if isinstance(message, StepReady) and _is_short(message):
                published.append((decision.id, message))
            elif confirmation is not None:
                published += [(confirmation.id, confirmation.message), (decision.id, message)]
            else:
                published.append((decision.id, message))
        return published


def _cause(ident: str) -> str:
    """What agents do, they do because of a `step_ready`."""
    about, _, name = ident.rpartition("/")
    return f"{about}/{StepReady.NAME}" if name in {StepStarted.NAME, StepDone.NAME} else ident


def _is_short(ready: StepReady) -> bool:
    return int(ready.step_id[1:]) % CHAIN == 1


def _done(ready: StepReady) -> list[tuple[str, Message]]:
    about = {
        "run_id": ready.run_id,
        "step_id": ready.step_id,
        "attempt": ready.attempt,
        "agent": ready.agent,
    }
    base = f"{ready.run_id}/{ready.step_id}/{ready.attempt}"
    number = int(ready.step_id[1:])
    output = {"value": number, "unit": "birds", "of": [number, number + 1]}
    done = StepDone(**about, outcome=StepOutcome.OK, output=output, instance="bench")
    facts: list[tuple[str, Message]] = [(f"{base}/step_done", done)]
    if not _is_short(ready):
        facts.insert(0, (f"{base}/step_started", StepStarted(**about, instance="bench")))
    return facts


class Recorded:
    """The log as a source."""

    def __init__(self, records: Sequence[ConsumerRecord]) -> None:
        self._records = records
        end = len(records)
        self.ranges = [Range(topic=TOPICS.events, partition=0, begin=0, first=0, end=end)]

    async def records(self) -> AsyncGenerator[ConsumerRecord]:
        """Deliver the records."""
        for record in self._records:
            yield record


async def verified_per_s(records: Sequence[ConsumerRecord]) -> float:
    """Verify once; say how many events were verified in a second."""
    began = time.process_time()
    found = await verify(Recorded(records), topics=TOPICS, codec=CODEC)
    took = time.process_time() - began
    if not found.are_same or found.unjudged:
        sys.exit(f"the log does not verify: {found.differences[:1]} {found.unjudged}")
    return found.counts.records / took


async def travelled(records: Sequence[ConsumerRecord]) -> tuple[float, float]:
    """Open a run at its end, and step back; say how long each took, in seconds."""
    reader = EntryReader(CODEC, TOPICS)
    began = time.process_time()
    facts = [await reader.read(record) for record in records]
    travel = Travel("large", facts)
    travel.go(len(facts) - 1)
    opened = time.process_time()
    backs = []
    for _ in range(9):
        before = time.process_time()
        travel.go(travel.number - 1)
        backs.append(time.process_time() - before)
    return opened - began, max(backs)


async def measure(runs: int, turns: int) -> int:
    """Print the figures; the exit code says whether the marks are met."""
    log, large = Log(), Log()
    for number in range(runs):
        log.run(f"r{number}", 10)
    large.run("large", 5_000)
    gc.freeze()  # as the command does
    gc.set_threshold(100_000, 50, 50)
    both = [verified_per_s(log.records) for _ in range(turns)]
    rate = statistics.median([await one for one in both])
    whole = statistics.median([await verified_per_s(large.records) for _ in range(turns)])
    opened, back = await travelled(large.records)
    load = psutil.getloadavg()[0]
    print(f"load {load:.1f} on {psutil.cpu_count()} cores")
    told = f"{runs:,} runs of 10 steps, {len(log.records):,} events"
    print(f"verify, {told}: {rate:,.0f} events/s of CPU (mark: {EVENTS_LEAST:,})")
    print(f"verify, a run of 5,000 steps, {len(large.records):,} events: {whole:,.0f} events/s")
    print(f"travel, that run, opened at its end: {opened:.2f} s (mark: {OPEN_MOST_S:g})")
    print(f"travel, a step back, at most: {back * 1000:.0f} ms (mark: {BACK_MOST_S * 1000:.0f})")
    met = rate >= EVENTS_LEAST and opened <= OPEN_MOST_S and back <= BACK_MOST_S
    return 0 if met else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replaying", description=__doc__)
    parser.add_argument("--runs", type=int, default=5_000)
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    sys.exit(asyncio.run(measure(asked.runs, asked.turns)))
