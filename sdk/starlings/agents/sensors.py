"""`Sensor`: steps that wait until something is so, by looking from time to time.

One function, `poke`: it gets the step's input and says False (not yet), True, or `Ready(output)`. A
sensor that has to remember something between two pokes returns `Waiting(state=…)` and finds it in
`ctx.state`, on whichever instance pokes next: nothing is missed and nothing seen twice by a restart
in between. The first poke is made at once, while the step is taken: what is so already costs no
wait, and the state that it leaves is kept before the step counts as done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ParamSpec

from pydantic import JsonValue, TypeAdapter, ValidationError
from typing_extensions import TypeVar

from starlings.choreography.context import render_task
from starlings.messages import AgentDefined, Model, RetryPolicy, StepFailed, StepReady

from .agent import DEFAULT_CONCURRENCY
from .context import StepContext
from .limits import Limit
from .polling import Polling
from .signatures import agent_error
from .status import JobStatus, Phase, Ready, Waiting
from .step_function import StepFunction
from .values import json_value
from .waiting import (
    LOST_AFTER_S,
    OPERATION_TIMEOUT_S,
    POLLS_AT_ONCE,
    Look,
    WaitingAgent,
    handle_value,
    positive,
    within,
)

P = ParamSpec("P")
R = TypeVar("R")


class _Kept(Model):
    """What is kept of a waiting sensor: its handle."""

    task: str = ""
    input: JsonValue = None
    state: JsonValue = None


_KEPT: TypeAdapter[_Kept] = TypeAdapter(_Kept)


class Sensor(WaitingAgent):
    """An agent whose steps wait for a condition.

    Args:
        name: also the name of its topic.
        description: what it waits for, for planners and people.
        version: of its behaviour.
        concurrency: how many first pokes one instance makes at once; steps that wait cost none.
        every_s: how long from one poke to the next.
        timeout_s: for how long a step waits in all; None: as long as its `timeouts.run_s` lets it.
        poke_timeout_s: limit of one poke.
        polls_at_once: how many pokes one instance makes at the same time.
        lost_after_s: for how long pokes may fail without a break before the attempt fails.
        limits: how many first pokes at once, over all instances of all agents that name the limit;
            steps that wait do not count, nor do their later pokes.
    """

    kind = "sensor"

    def __init__(
        self,
        name: str,
        *,
        description: str,
        version: str = "1",
        concurrency: int = DEFAULT_CONCURRENCY,
        every_s: float = 10.0,
        timeout_s: float | None = None,
        poke_timeout_s: float = OPERATION_TIMEOUT_S,
        polls_at_once: int = POLLS_AT_ONCE,
        lost_after_s: float = LOST_AFTER_S,
        scales_from_zero: bool = False,
        retry: RetryPolicy | None = None,
        limits: Sequence[Limit] = (),
    ) -> None:
        super().__init__(
            name,
            description=description,
            version=version,
            concurrency=concurrency,
            polling=Polling(every_s, 1.0, every_s),
            polls_at_once=polls_at_once,
            lost_after_s=lost_after_s,
            wait_limit_s=timeout_s,
            scales_from_zero=scales_from_zero,
            retry=retry,
            limits=limits,
        )
        self.poke_timeout_s = positive(poke_timeout_s, name, "poke_timeout_s")

    def __repr__(self) -> str:
        return f"Sensor({self.name!r})"

    def poke(self, function: Callable[P, R]) -> Callable[P, R]:
        """Register what looks; it takes what `@agent.step` takes.

        Raises:
            ConfigError: saying what is wrong with it.
        """
        if self._step is not None:
            raise agent_error(f"sensor {self.name!r} has a `poke` already; make a second sensor")
        self._step = StepFunction(function, agent=self.name)
        return function

    def step(self, function: Any) -> Any:  # noqa: ARG002 - the signature of an Agent
        """Refuse: a sensor's step is its poke."""
        raise agent_error(f"{self.name!r} is a sensor: register its function with @sensor.poke")

    def tool(self, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse: a sensor has no tools."""
        raise agent_error(f"{self.name!r} is a sensor and has no tools: make an Agent of them")

    def definition(self) -> AgentDefined:
        """Describe the sensor for the registry.

        Raises:
            ConfigError: it has no `poke`.
        """
        if self._step is None:
            raise agent_error(f"sensor {self.name!r} can see nothing yet: register a @sensor.poke")
        return super().definition()

    # -- what is done with it ------------------------------------------------------------------

    async def begin(self, ready: StepReady, ctx: StepContext) -> Look:
        """Poke for the first time; a poke that fails is only the first of many."""
        kept = _Kept(task=render_task(ready), input=ready.input)
        handle = self._handle(kept)
        if self._step is not None:
            self._step.arguments(ready)  # a wrong input is told at once, not poked for an hour
        return await self.look(handle, ctx)

    async def observe(self, handle: JsonValue, ctx: StepContext) -> Look:
        """Poke once."""
        if self._step is None:
            raise RuntimeError("definition() has been asked before")
        try:
            kept = _KEPT.validate_python(handle)
        except ValidationError:
            raise StepFailed(
                f"what was kept of sensor {self.name!r} cannot be read", code="handle_invalid"
            ) from None
        ready = StepReady(
            run_id=ctx.run_id,
            step_id=ctx.step_id,
            attempt=ctx.attempt,
            agent=self.name,
            task=kept.task,
            input=kept.input,
        )
        looking = replace(ctx, task=kept.task, state=kept.state)
        what = f"the poke of sensor {self.name!r}"
        said = await within(self.poke_timeout_s, self._step.call(ready, looking), what)
        return self._read(said, kept, handle)

    def _read(self, said: Any, kept: _Kept, handle: JsonValue) -> Look:
        if isinstance(said, Ready):
            status = JobStatus(Phase.SUCCEEDED, output=said.output, summary=said.summary)
            return Look(status, handle)
        if said is True:
            return Look(JobStatus(Phase.SUCCEEDED, output=True), handle)
        if said is False:
            return Look(JobStatus(Phase.PENDING), handle)
        if isinstance(said, Waiting):
            status = JobStatus(
                Phase.PENDING, progress=said.progress, retry_after_s=said.retry_after_s
            )
            if said.state is None:
                return Look(status, handle)
            state = json_value(said.state, f"the state of sensor {self.name!r}")
            return Look(status, self._handle(kept.model_copy(update={"state": state})))
        raise StepFailed(
            f"the poke of sensor {self.name!r} returned {type(said).__name__}; it has to be True, "
            "False, Ready(…) or Waiting(…)",
            code="output_invalid",
            retryable=True,
        )

    def _handle(self, kept: _Kept) -> JsonValue:
        return handle_value(kept.model_dump(), f"input and state of a step of sensor {self.name!r}")

    async def end(self, handle: JsonValue, ctx: StepContext) -> None:
        """End nothing: a sensor has begun nothing."""
