"""A candidate in the shadow of an agent: real work goes through it too, and nothing comes of that.

Rules:
- It consumes the agent's own steps, in a consumer group of its own, from the beginning of a window
  to its end. The agent's group is not touched.
- What its tools and `ctx.once` ask for is answered from the record of the real attempt, or refused;
  with `live_reads`, tools that are declared idempotent are called. Of tools that the plan itself
  names only those are called, always. Its model is asked: that is what is compared.
  `ctx.replaying` is true.
- What it gives goes to the shadow's own topic, with a header that says so, and nowhere else: no
  fact, no dead letter, no checkpoint, no entry in the registry.
- The group's commits say how far it is. An interrupted shadow goes on there; several processes with
  one name share the work. `anew` begins a new session, of which nothing older is counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from aiokafka import ConsumerRecord, OffsetAndMetadata, TopicPartition
from aiokafka.errors import KafkaError

from starlings.agents import Agent
from starlings.agents.execute import execute
from starlings.agents.model_port import ModelPort
from starlings.agents.waiting import WaitingAgent
from starlings.kafka.admin import ensure_topics
from starlings.kafka.codec import Codec, Received
from starlings.kafka.connection import Connection
from starlings.kafka.groups import move_group
from starlings.kafka.offsets import Done, decode, encode, rewound_at_ms
from starlings.kafka.parallel import ParallelConsumer
from starlings.kafka.publisher import Publisher
from starlings.messages import (
    REPLAY_HEADER,
    SHADOW_HEADER,
    CommandRefused,
    ConfigError,
    ErrorInfo,
    StepDone,
    StepOutcome,
    StepReady,
    Topics,
    error_info,
    step_key,
)

from .recorded_calls import Answers, RecordedCalls
from .shadow_comparing import Comparison, Side, Verdict, compare
from .shadow_custody import WindowCustody
from .shadow_judge import judged
from .shadow_work import Work, ends_of_window, result_of

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.5
GRACE_S = 5.0
LIMIT_S = 600.0  # of steps that have no limit themselves
LARGEST_HEADER = 8_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who is measured, under which name, and what its calls may do."""

    agent: Agent
    name: str
    model: ModelPort | None = None
    live_reads: bool = False
    variant: str | None = None


@dataclass(slots=True)
class Shadow:
    """One shadow over the work of a window."""

    connection: Connection
    codec: Codec
    publisher: Publisher
    topics: Topics
    served: str  # the agent whose work it is
    candidate: Candidate
    work: Work
    judge: ModelPort | None = None
    concurrency: int | None = None
    tell: Callable[[str, Comparison], None] = lambda _name, _comparison: None
    session: int = 0

    @property
    def topic(self) -> str:
        """Name the topic of the results, which is also the name of the group."""
        return self.topics.shadow(self.served, self.candidate.name)

    @property
    def _places(self) -> dict[int, TopicPartition]:
        source = self.topics.steps(self.served)
        return {each.partition: TopicPartition(source, each.partition) for each in self.work.ranges}

    async def run(self, *, anew: bool = False) -> None:
        """Bring the window's work through the candidate; return when all of it has been.

        Raises:
            ConfigError: the candidate cannot be measured like this, or something is not allowed.
            CommandRefused: to begin anew, while another process is at it.
            TransientError: Kafka does not answer.
        """
        check_candidate(self.candidate.agent)
        spec = self.topics.shadow_spec(self.served, self.candidate.name)
        await ensure_topics(self.connection, [spec])
        await self._begin(anew=anew)
        await self._consume()

    # -- where it stands ---------------------------------------------------------------------------

    async def _begin(self, *, anew: bool) -> None:
        """Put the group at the window's beginning, unless it has begun already."""
        commits = await self._commits()
        self.session = max((rewound_at_ms(c.metadata) for c in commits.values()), default=0)
        if self.session and not anew:
            return
        session = max(self.session + 1, time.time_ns() // 1_000_000)
        began = {
            self._places[each.partition]: OffsetAndMetadata(
                each.first, encode(Done(each.first), rewound_ms=session)
            )
            for each in self.work.ranges
        }
        try:
            await move_group(self.connection, self.topic, began)
            self.session = session
        except CommandRefused:
            if anew:
                raise
            commits = await self._commits()  # another process was faster
            self.session = max((rewound_at_ms(c.metadata) for c in commits.values()), default=0)

    async def _commits(self) -> dict[TopicPartition, OffsetAndMetadata]:
        return await self.connection.committed(self.topic, list(self._places.values()))

    async def left(self) -> int:
        """Count the steps of the window that have not been through, here or elsewhere."""
        commits = await self._commits()
        done = {place.partition: decode(c.offset, c.metadata) for place, c in commits.items()}
        return sum(not _is_done(done.get(part), offset) for part, offset in self.work.steps)

    # -- the work ----------------------------------------------------------------------------------

    async def _consume(self) -> None:
        consumer = ParallelConsumer(
            self.connection,
            self.codec,
            topic=self.topics.steps(self.served),
            group_id=self.topic,
            concurrency=self.concurrency or self.candidate.agent.concurrency,
            handler=self._handle,
            on_undecodable=self._unreadable,
            on_poison=self._unreadable,
            default=StepReady,
            custody=WindowCustody(self.work.steps, ends_of_window(self.work.ranges)),
        )
        stop = asyncio.Event()
        running = asyncio.create_task(consumer.run(stop, GRACE_S))
        try:
            while not running.done() and await self._is_unfinished():
                await asyncio.wait((running,), timeout=LOOK_EVERY_S)
        finally:
            stop.set()
            await running

    async def _is_unfinished(self) -> bool:
        try:
            return await self.left() > 0
        except (KafkaError, OSError) as error:
            log.warning("how far the shadow is cannot be seen, looking again", error=repr(error))
            return True

    async def _handle(self, received: Received) -> None:
        ready = received.message
        name = self.work.steps[received.origin.partition, received.origin.offset]
        if not isinstance(ready, StepReady):
            return
        was = await result_of(self.work, self.codec, name)
        now = await self._try(ready, was if isinstance(was, StepDone) else None)
        comparison = await self._compared(ready, was, now)
        await self._say(name, now, comparison)

    async def _try(self, ready: StepReady, was: StepDone | None) -> StepDone:
        """Let the candidate do a step, its calls answered as they were answered then."""
        candidate = self.candidate
        if (refusal := refused_tool(candidate.agent, ready)) is not None:
            return _failed(ready, candidate.agent.name, refusal)
        timeouts = ready.timeouts
        if timeouts.run_s is None:
            timeouts = timeouts.model_copy(update={"run_s": LIMIT_S})
        given = {"timeouts": timeouts, "variant": candidate.variant}
        calls = RecordedCalls(
            was.kept if was is not None else None,
            answers=Answers.RECORDED_THEN_LIVE if candidate.live_reads else Answers.RECORDED,
            model=Answers.LIVE,
            refuse_effects=True,
        )
        with calls.within():
            return await execute(
                candidate.agent,
                ready.model_copy(update=given),
                model=candidate.model,
                instance=self.topic,
                replaying=True,
            )

    async def _compared(
        self, ready: StepReady, was: StepDone | str | None, now: StepDone
    ) -> Comparison:
        if isinstance(was, str):
            return self._no_comparison(f"the recorded result cannot be read: {was}", now)
        comparison = compare(was, now, session=self.session)
        good = was is not None and was.error is None and now.error is None
        if was is None or comparison.verdict is not Verdict.DIFFERENT or not good:
            return comparison
        if self.judge is None:
            return comparison
        judgement = await judged(self.judge, ready, was.output, now.output)
        verdict = Verdict.SAME_MEANING if judgement.same else Verdict.DIFFERENT
        return comparison.model_copy(update={"verdict": verdict, "judgement": judgement})

    async def _unreadable(self, record: ConsumerRecord, error: Exception) -> None:
        """Say of a step that cannot be read (its blob is gone, say) that nothing is known of it."""
        name = self.work.steps.get((record.partition, record.offset))
        parts = (name or "").split("/")
        if name is None or len(parts) != 3 or not parts[2].isdecimal():  # noqa: PLR2004
            return
        info: ErrorInfo = error_info(error)
        step = {"run_id": parts[0], "step_id": parts[1], "attempt": max(int(parts[2]), 1)}
        now = _failed(StepReady(agent=self.served, **step), self.served, info)
        why = f"the recorded step cannot be done again: {info.message}"
        await self._say(name, now, self._no_comparison(why, now))

    def _no_comparison(self, why: str, now: StepDone) -> Comparison:
        return Comparison(
            session=self.session,
            verdict=Verdict.NOT_COMPARABLE,
            why=why,
            was=Side(),
            now=Side.of(now),
        )

    async def _say(self, name: str, now: StepDone, comparison: Comparison) -> None:
        value, headers = await self.codec.encode(
            now, id=f"{name}/shadow/{self.session}", subject=now.run_id
        )
        replay = f"shadow {self.candidate.name} of {self.served}, run {now.run_id}"
        said = _as_header(comparison)
        await self.publisher.forward(
            self.topic,
            step_key(now.run_id, now.step_id),
            value,
            headers=[*headers, (REPLAY_HEADER, replay.encode()), (SHADOW_HEADER, said)],
        )
        self.tell(name, comparison)


def check_candidate(agent: Agent) -> None:
    """Refuse agents that no shadow can measure.

    Raises:
        ConfigError: saying why.
    """
    if not agent.takes_steps:
        raise ConfigError(
            f"{agent.name} takes no steps, it only reacts to events: name an agent that takes steps"
        )
    if isinstance(agent, WaitingAgent):
        raise ConfigError(
            f"{agent.name} is a {agent.kind}: what it begins outside cannot be answered from the "
            "record; a shadow takes agents of functions, tools or strategies"
        )


def refused_tool(agent: Agent, ready: StepReady) -> ErrorInfo | None:
    """Say why a tool is not called that the plan itself names: no record answers for that."""
    tool = agent.tools.get(ready.tool or "")
    if tool is None or tool.idempotent:
        return None
    return ErrorInfo(
        code="effect_refused",
        message=f"the plan calls the tool {tool.name!r}, which is not declared idempotent: no "
        "shadow calls it; declare it so, with tool(idempotent=True), where that does no harm",
    )


def _failed(ready: StepReady, agent: str, error: ErrorInfo) -> StepDone:
    return StepDone(
        run_id=ready.run_id,
        step_id=ready.step_id,
        attempt=ready.attempt,
        agent=agent,
        outcome=StepOutcome.ERROR,
        error=error,
    )


def _as_header(comparison: Comparison) -> bytes:
    text = comparison.model_dump_json(exclude_none=True)
    if len(text) > LARGEST_HEADER:
        short = {"differences": (), "why": comparison.why[:500]}
        text = comparison.model_copy(update=short).model_dump_json(exclude_none=True)
    return text.encode()


def _is_done(done: Done | None, offset: int) -> bool:
    if done is None:
        return False
    return offset < done.low or any(first <= offset < end for first, end in done.ranges)
