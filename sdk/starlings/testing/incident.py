"""An incident as a test: decided as it was, and its steps come to what they came to.

    def test_the_wrong_sum_stays_mended() -> None:
        replay_incident("incident.jsonl", agents=[math])

Nothing needs Kafka here, and nothing is called outside: models and tools answer from the record,
and a call that is not in it fails the step, with the words that say so.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aiokafka import ConsumerRecord

from starlings.agents import Agent
from starlings.agents.model_port import ModelPort
from starlings.agents.models import AgentModels
from starlings.kafka.codec import Codec
from starlings.messages import ConfigError, StarlingsError, StepDone, StepOutcome, StepReady
from starlings.replay import Range
from starlings.replay.findings import Difference as Decided
from starlings.replay.findings import Findings
from starlings.replay.incident import Incident, IncidentUnusable, read_incident
from starlings.replay.recorded_attempt import RecordedAttempt
from starlings.replay.recorded_calls import Answers
from starlings.replay.step_again import Difference, differences, run_again
from starlings.replay.verify import verify

T = TypeVar("T")
_STOPPED = frozenset({"cancelled", "timeout", "stopped"})
_LINES = 40


@dataclass
class Replayed:
    """What was replayed of an incident; `left` says of attempts why they were not."""

    run_id: str
    decisions: int = 0
    attempts: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


class IncidentReplay:
    """An incident, read once; its parts can be checked one by one.

    Raises:
        ArchiveDamaged: the file is damaged, or of another version.
    """

    def __init__(self, path: Path | str) -> None:
        self.incident: Incident = read_incident(path)
        self.run_id = self.incident.header.run_id
        self.attempts: dict[str, RecordedAttempt] = {}
        self.unread: list[str] = []
        _run(self._read)

    async def _read(self) -> None:
        works: dict[tuple[str, int], StepReady] = {}
        ends: dict[tuple[str, int], StepDone] = {}
        async for record, codec in self._records():
            if record.value is None:  # an agent forgets what it kept of work that has ended
                continue
            try:
                received = await codec.decode(record)
            except StarlingsError as error:
                self.unread.append(str(error))
                continue
            message = received.message if received is not None else None
            if getattr(message, "run_id", None) != self.run_id:
                continue  # what its agents said of themselves, and whatever is foreign
            if isinstance(message, StepReady):
                works.setdefault((message.step_id, message.attempt), message)
            elif isinstance(message, StepDone):
                ends.setdefault((message.step_id, message.attempt), message)  # the first counts
        for (step_id, number), ready in works.items():
            self.attempts[f"{step_id}/{number}"] = RecordedAttempt(
                ready=ready,
                place=None,
                done=ends.get((step_id, number)),
                made=max(n for step, n in works if step == step_id),
                started_by="",
                why_settled="it is of an incident",
            )

    async def _records(self) -> AsyncGenerator[tuple[ConsumerRecord, Codec]]:
        with tempfile.TemporaryDirectory(prefix="starlings-incident-") as folder:
            codec = Codec(source="starlings/testing", blobs=self.incident.blobs(Path(folder)))
            for record in self.incident.records():
                yield record, codec

    # -- its decisions -------------------------------------------------------------------------

    def check_decisions(self) -> int:
        """Look whether today's code decides the run as it was decided; return how many times.

        Raises:
            AssertionError: it does not, with the first difference.
            IncidentUnusable: nobody can tell.
        """
        findings = _run(self._verified)
        if findings.differences:
            raise AssertionError(_decided_otherwise(findings.differences[0]))
        why = findings.unjudged.get(self.run_id)
        if why is not None or not findings.counts.same:
            said = "; ".join([why or "nothing of the run is in it", *self.unread[:3]])
            raise IncidentUnusable(f"{self.incident.path}: nobody can tell: {said}")
        return findings.counts.decisions

    async def _verified(self) -> Findings:
        with tempfile.TemporaryDirectory(prefix="starlings-incident-") as folder:
            return await verify(
                _Chosen(self.incident),
                topics=self.incident.topics,
                codec=Codec(source="starlings/testing", blobs=self.incident.blobs(Path(folder))),
                runs=[self.run_id],
                steps=lambda: _Chosen(self.incident),
                chosen=True,
            )

    # -- its steps -----------------------------------------------------------------------------

    def check_step(
        self, name: str, agents: Collection[Agent], *, model: ModelPort | AgentModels | None = None
    ) -> None:
        """Run an attempt (`step/number`) again, and compare what comes of it with what came then.

        Raises:
            AssertionError: it comes to something else, with the difference.
        """
        attempt = self.attempts[name]
        agent = next(agent for agent in agents if agent.name == attempt.ready.agent)
        asked = model if model is not None else AgentModels()
        port = asked.of(agent) if isinstance(asked, AgentModels) else asked
        done = attempt.done
        if done is None:
            raise IncidentUnusable(f"the attempt {name} has no end")

        async def again() -> list[Difference]:
            now = await run_again(
                agent, attempt, answers=Answers.RECORDED, refuse_effects=True, model=port
            )
            return differences(done, now.done)

        found = _run(again)
        if found:
            raise AssertionError(_came_to_something_else(self.run_id, name, agent.name, found))

    def why_left(self, name: str, agents: Collection[Agent]) -> str | None:
        """Say why an attempt is not run again; None: it is."""
        attempt = self.attempts[name]
        if attempt.ready.agent not in {agent.name for agent in agents}:
            return f"the agent {attempt.ready.agent} was not given"
        done = attempt.done
        if done is None:
            return "it has no end"
        if done.outcome is StepOutcome.CANCELLED or (done.error and done.error.code in _STOPPED):
            return "it was stopped from outside"
        return None


def replay_incident(
    path: Path | str,
    *,
    agents: Collection[Agent] | None = None,
    steps: Collection[str] | None = None,
    model: ModelPort | AgentModels | None = None,
) -> Replayed:
    """Replay an incident: is the run decided as it was, and do its steps come to the same?

    Args:
        path: the file, as `starlings incident` writes it.
        agents: whose steps are run again, with recorded answers; None: no step is.
        steps: only these; None: all.
        model: what stands for the model; it is never asked. None: each agent's own.

    Raises:
        AssertionError: something is otherwise now; it says what.
        ArchiveDamaged: the file is damaged, or of another version, or lacks what is needed.
        ConfigError: the incident has no such step.
    """
    replay = IncidentReplay(path)
    chosen = _chosen(replay, steps)
    done = Replayed(replay.run_id, decisions=replay.check_decisions())
    for name in chosen if agents is not None else ():
        why = replay.why_left(name, agents or ())
        if why is not None:
            done.left[name] = why
            continue
        replay.check_step(name, agents or (), model=model)
        done.attempts.append(name)
    return done


def _chosen(replay: IncidentReplay, steps: Collection[str] | None) -> list[str]:
    there = {name.rpartition("/")[0] for name in replay.attempts}
    missing = [step for step in steps or () if step not in there]
    if missing:
        raise ConfigError(
            f"the incident has no attempt of step {missing[0]!r}; it has {', '.join(sorted(there))}"
        )
    wanted = there if steps is None else set(steps)
    return [name for name in replay.attempts if name.rpartition("/")[0] in wanted]


class _Chosen:
    """The records of an incident; what is missing between them was of other runs."""

    def __init__(self, incident: Incident) -> None:
        whole = incident.header.since is None
        self.ranges: Sequence[Range] = [
            found.model_copy(update={"first": 0}) if whole else found
            for found in incident.header.ranges
        ]
        self._incident = incident

    async def records(self) -> AsyncGenerator[ConsumerRecord]:
        """Deliver the records."""
        for record in self._incident.records():
            yield record


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run something to its end, also where an event loop is at work already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    came: list[T] = []
    failed: list[BaseException] = []

    def aside() -> None:
        try:
            came.append(asyncio.run(work()))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=aside, name="starlings-incident")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return came[0]


def _decided_otherwise(found: Decided) -> str:
    where = f"{found.topic}/{found.partition}/{found.offset}"
    path = f" ({found.path})" if found.path else ""
    return (
        f"run {found.run_id} is decided otherwise today: {found.id or 'at a fact'}, {where}: "
        f"{found.what}{path}\n{_unified(found.published, found.owed, 'published', 'owed now')}"
    )


def _came_to_something_else(
    run_id: str, name: str, agent: str, found: Collection[Difference]
) -> str:
    told = [
        f"{each.field}:\n{_unified(each.recorded, each.now, 'recorded', 'now')}" for each in found
    ]
    return f"attempt {name} of run {run_id} (agent {agent}) comes to something else now\n" + (
        "\n".join(told)
    )


def _unified(before: Any, after: Any, name: str, other: str) -> str:
    mine, theirs = (
        json.dumps(side, indent=2, ensure_ascii=False, sort_keys=True, default=str).splitlines()
        for side in (before, after)
    )
    diff = list(difflib.unified_diff(mine, theirs, name, other, lineterm="", n=2))
    more = [f"… {len(diff) - _LINES} more lines"] if len(diff) > _LINES else []
    return "\n".join(f"  {line}" for line in [*diff[:_LINES], *more])
