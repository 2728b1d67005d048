"""What a step, or its compensation, knows about itself, and how it gives a sign of life."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

import structlog
from pydantic import JsonValue

from starlings.choreography.context import resolve
from starlings.messages import CompensationReady, ErrorInfo, ModelOverride, StepReady

from .model_port import ModelPort, Spent
from .once import Call, Once, current_once
from .step_model import StepModel, no_model
from .values import json_value

Heartbeat = Callable[[JsonValue], Awaitable[None]]


async def no_heartbeat(_progress: JsonValue) -> None:
    """Take a sign of life that nobody waits for."""


@dataclass(frozen=True, kw_only=True)
class StepContext:
    """One attempt of one step, as its function or tool sees it.

    Attributes:
        run_id: the run.
        step_id: the step within the run's plan.
        attempt: 1 for the first try.
        agent: the agent's name.
        task: the step's task in words, without the results of earlier steps.
        results: outputs of the steps that this one depends on, by step id.
        errors: why steps that this one depends on have failed, by step id; a failed step gets
            here only where the run goes on after failures.
        deadline: when the attempt will be stopped; None: no limit.
        asked_at: in a step of a job agent or sensor, when it was made ready: what it waits for may
            have come since then, however late it is begun. None: not known, as without Kafka.
        undoes: whether this is a compensation: one try to undo the attempt. Then `results` has the
            step's own output, and there are no signs of life to give.
        reason: why the step is undone, for people.
        state: in a sensor's poke, what the one before it left behind.
        replaying: whether this attempt has been made before, and is run again to look at it; what
            has an effect should leave it out then, or do it elsewhere.
    """

    run_id: str
    step_id: str
    attempt: int
    agent: str
    task: str = ""
    results: Mapping[str, JsonValue] = field(default_factory=dict)
    errors: Mapping[str, ErrorInfo] = field(default_factory=dict)
    deadline: datetime | None = None
    asked_at: datetime | None = None
    undoes: bool = False
    reason: str = ""
    state: JsonValue = None
    replaying: bool = False
    on_heartbeat: Heartbeat = field(default=no_heartbeat, repr=False, compare=False)
    memory: Once = field(default_factory=current_once, repr=False, compare=False)
    model_port: ModelPort | None = field(default=None, repr=False, compare=False)
    spent: Spent | None = field(default=None, repr=False, compare=False)
    override: ModelOverride | None = field(default=None, repr=False, compare=False)

    @property
    def log(self) -> Any:
        """A structlog logger, bound with the ids."""
        return structlog.get_logger("starlings.agent").bind(
            run=self.run_id, step=self.step_id, attempt=self.attempt, agent=self.agent
        )

    @property
    def idempotency_key(self) -> str:
        """Name this attempt for the systems that it acts on: a repeat has the same key.

        A compensation has one of its own, the same for every try.
        """
        return f"{self.attempt_key}/compensation" if self.undoes else self.attempt_key

    @property
    def attempt_key(self) -> str:
        """The `idempotency_key` that the attempt itself has or, in a compensation, had."""
        return f"{self.run_id}/{self.step_id}/{self.attempt}"

    @property
    def model(self) -> StepModel:
        """The language model of this agent; its answers are kept, and what they cost counts.

        Asked as the run wants it, where that says otherwise than the agent.

        Raises:
            StepFailed: `no_model`; `model_not_allowed` where the run asks for another.
        """
        if self.model_port is None:
            raise no_model(self.agent)
        port, told = self.model_port, self.override
        if told is not None and (told.model is not None or told.temperature is not None):
            port = port.for_run(told.model, temperature=told.temperature)
        prompt = told.prompt if told is not None else None
        spent = self.spent or Spent()
        return StepModel(port, self.memory, spent, tell=self.heartbeat, prompt=prompt)

    async def heartbeat(self, progress: Any = None) -> None:
        """Give a sign of life, with anything JSON-serialisable that tells how far the step is."""
        await self.on_heartbeat(json_value(progress, "the progress"))

    async def once(self, name: str, call: Call, *, secret: bool = False) -> Any:
        """Make a call whose answer is kept: an attempt that is started again does not repeat it.

        `call` takes no arguments, is plain or async, and returns what JSON can carry; what it
        raises is not kept. `name` tells it apart from the other calls of the step. The answers also
        stand in the record of the attempt, for who runs it again later; a `secret` one does not.

        Raises:
            StepFailed: `bad_call_name`, `bad_call`, `output_not_json` or `output_too_large`.
            Exception: whatever the call itself raised.
        """
        return await self.memory(name, call, secret=secret)


def step_context(
    ready: StepReady,
    *,
    deadline: datetime | None,
    on_heartbeat: Heartbeat,
    asked_at: datetime | None = None,
    model: ModelPort | None = None,
    spent: Spent | None = None,
    replaying: bool = False,
) -> StepContext:
    """Build the context of an attempt."""
    good = {r.step_id: r.output for r in ready.context if r.error is None}
    bad = {r.step_id: r.error for r in ready.context if r.error is not None}
    ctx = StepContext.__new__(StepContext)
    ctx.__dict__.update(  # a frozen dataclass sets its fields one by one, which each step would pay
        run_id=ready.run_id,
        step_id=ready.step_id,
        attempt=ready.attempt,
        agent=ready.agent,
        task=ready.task,
        results=MappingProxyType(good),
        errors=MappingProxyType(bad),
        deadline=deadline,
        asked_at=asked_at,
        replaying=replaying,
        on_heartbeat=on_heartbeat,
        memory=current_once(),
        model_port=model,
        spent=spent,
        override=ready.model,
    )
    return ctx


def resolved(ready: StepReady, ctx: StepContext) -> tuple[StepReady, StepContext]:
    """Replace the templates of a step by what they stand for, also in what its context tells.

    Raises:
        StepFailed: `template_unresolved`, where a result or a path in it does not exist.
    """
    plain = resolve(ready)
    return (ready, ctx) if plain is ready else (plain, replace(ctx, task=plain.task))


def compensation_context(
    ready: CompensationReady,
    *,
    deadline: datetime | None,
    model: ModelPort | None = None,
    spent: Spent | None = None,
    replaying: bool = False,
) -> StepContext:
    """Build the context of a try to undo an attempt."""
    return StepContext(
        run_id=ready.run_id,
        step_id=ready.step_id,
        attempt=ready.attempt,
        agent=ready.agent,
        task=ready.task,
        results=MappingProxyType({r.step_id: r.output for r in ready.context}),
        deadline=deadline,
        undoes=True,
        reason=ready.reason,
        replaying=replaying,
        model_port=model,
        spent=spent,
    )
