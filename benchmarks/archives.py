"""Export and import of a long log: `python -m benchmarks.archives [--records 200000]`.

A log of runs with realistic facts is laid on an Apache Kafka of its own. Then `starlings events
export` and `import` run as processes, and it is told how many events they do a second and how much
memory they took at most. Beside it stands a log of a tenth: memory that does not grow with the log
is the mark.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from starlings.kafka.connection import Connection, KafkaSettings
from starlings.messages import (
    Envelope,
    Message,
    Plan,
    PlanCreated,
    Step,
    StepDone,
    StepOutcome,
    StepScheduled,
    Topics,
    attempt_id,
    message_id,
    run_key,
)

from .system import lay_out, own_broker

STEPS = 5
UNDER_WAY = 5_000
GROWTH_MIB = 32.0
FACTS = 1 + 2 * STEPS


@dataclass(frozen=True)
class Took:
    """What a process took."""

    seconds: float
    peak_mib: float


def facts() -> Iterator[tuple[str, str, Message]]:
    """Tell of runs for ever: run, id, fact."""
    text = "the quick brown fox jumps over the lazy dog. " * 8
    number = 0
    while True:
        number += 1
        run = f"run-{number:08d}"
        steps = [Step(id=f"s{n}", agent="math", task=text) for n in range(STEPS)]
        plan = PlanCreated(run_id=run, request=text, plan=Plan(steps=steps))
        yield run, message_id(run, plan.NAME), plan
        for step in steps:
            about = {"run_id": run, "step_id": step.id, "attempt": 1, "agent": "math"}
            scheduled = StepScheduled.model_validate(about)
            done = StepDone(**about, outcome=StepOutcome.OK, output=text, duration_s=0.01)
            for fact in (scheduled, done):
                yield run, attempt_id(run, step.id, 1, fact.NAME), fact


async def fill(bootstrap: str, topics: Topics, count: int) -> None:
    """Lay so many facts on `events`."""
    await lay_out(bootstrap, topics)
    producer = Connection(KafkaSettings(bootstrap=bootstrap)).producer()
    await producer.start()
    under_way: deque[asyncio.Future[Any]] = deque()
    try:
        for _, (run, ident, fact) in zip(range(count), facts(), strict=False):
            headers = Envelope(ident, fact.CE_TYPE, "bench", run, 1_790_000_000_000).headers()
            sent = await producer.send(
                topics.events, fact.as_json(), key=run_key(run), headers=headers
            )
            under_way.append(sent)
            if len(under_way) >= UNDER_WAY:
                await under_way.popleft()
        await asyncio.gather(*under_way)
    finally:
        await producer.stop()


def run(bootstrap: str, topics: Topics, *argv: str) -> Took:
    """Run a command; give its time and the most memory that it held."""
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("KAFKA_", "STARLINGS_"))},
        "KAFKA_BOOTSTRAP": bootstrap,
        "STARLINGS_TOPIC_PREFIX": topics.prefix,
    }
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "starlings.cli", *argv], env=env, stdout=subprocess.DEVNULL
    )
    _, status, taken = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"starlings {' '.join(argv)} ended with {process.returncode}")
    per_mib = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return Took(time.perf_counter() - began, taken.ru_maxrss / per_mib)


def measure(bootstrap: str, folder: Path, count: int) -> dict[str, Took]:
    """Export and import a log of so many facts, and choose from it."""
    topics = Topics(f"bench{count}.")
    uvloop.run(fill(bootstrap, topics, count))
    file = str(folder / f"{count}.jsonl")
    return {
        "nothing (`topics ls`)": run(bootstrap, topics, "topics", "ls"),
        "export": run(bootstrap, topics, "events", "export", "-o", file),
        "import": run(bootstrap, topics, "events", "import", file, "--prefix", f"copy{count}."),
        "ls --failed": run(bootstrap, topics, "events", "ls", "--failed"),
        "ls --run …": run(bootstrap, topics, "events", "ls", "--run", "run-00000007"),
    }


def main() -> int:
    """Measure, print a table, and say by the exit code whether the mark is met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archives", description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    count = parser.parse_args().records
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory(prefix="starlings-bench-") as name:
        folder = Path(name)
        with own_broker(folder) as broker:
            small = measure(broker.bootstrap, folder, max(count // 10, 1))
            large = measure(broker.bootstrap, folder, count)
    print(f"{count:,} events                events/s   peak RSS   of a tenth")
    grew = []
    for what, took in large.items():
        grew.append(took.peak_mib - small[what].peak_mib)
        print(
            f"{what:<24}{count / took.seconds:>12,.0f}{took.peak_mib:>7.0f} MiB"
            f"{small[what].peak_mib:>9.0f} MiB"
        )
    met = max(grew) <= GROWTH_MIB
    print(f"grows by {GROWTH_MIB:.0f} MiB at most: {'met' if met else 'missed'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
