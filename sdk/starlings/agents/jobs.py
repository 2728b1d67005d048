"""`JobAgent`: steps that run somewhere else, submitted once and looked after until they end.

Three functions: `create` submits and returns a handle, `get` says how far the job is, `delete` ends
it. What they may rely on, and what they have to keep to:

- The handle is kept before anything else happens, and from then on nothing is ever submitted for
  this attempt again. A crash *between* the end of `create` and the keeping of its handle calls
  `create` again, for the same attempt and with the same `ctx.idempotency_key`: pass that on, or
  look for a job of that name first.
- `create` that runs out of its own time is called again with the same key, since nobody knows
  whether the job exists.
- `get` may fail, and may contradict itself: it is asked again, until it tells an end.
- `delete` may be called for a job that has ended, or that is unknown: that is success.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Generic, ParamSpec

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import to_json
from typing_extensions import TypeVar

from starlings.messages import AgentDefined, RetryPolicy, StepFailed, StepReady, TransientError

from .agent import DEFAULT_CONCURRENCY
from .context import StepContext
from .failures import failure
from .limits import Limit
from .polling import Polling
from .signatures import Signature, adapter, agent_error, read_signature
from .status import JobStatus, Phase
from .step_function import StepFunction
from .threads import call
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

CREATE_TRIES = 3

Handle = TypeVar("Handle", default=Any)
P = ParamSpec("P")
R = TypeVar("R")


class JobAgent(WaitingAgent, Generic[Handle]):
    """An agent whose steps are jobs of another system.

    Args:
        name: also the name of its topic.
        description: what it can do, for planners and people.
        version: of its behaviour.
        concurrency: how many `create` calls one instance makes at once; jobs that wait cost none.
        create_timeout_s: limit of one call of `create`.
        get_timeout_s: limit of one call of `get`.
        delete_timeout_s: limit of one call of `delete`.
        first_poll_s: how long after its creation a job is looked at.
        poll_factor: by which the interval grows from look to look.
        longest_poll_s: up to this.
        polls_at_once: how many jobs one instance looks at at the same time.
        lost_after_s: for how long `get` may fail without a break before the attempt fails.
        limits: how many `create` calls (and compensations) at once, over all instances of all
            agents that name the limit; jobs that wait do not count.
    """

    kind = "job"

    def __init__(
        self,
        name: str,
        *,
        description: str,
        version: str = "1",
        concurrency: int = DEFAULT_CONCURRENCY,
        create_timeout_s: float = OPERATION_TIMEOUT_S,
        get_timeout_s: float = OPERATION_TIMEOUT_S,
        delete_timeout_s: float = OPERATION_TIMEOUT_S,
        first_poll_s: float = 1.0,
        poll_factor: float = 1.5,
        longest_poll_s: float = 30.0,
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
            polling=Polling(first_poll_s, poll_factor, max(longest_poll_s, first_poll_s)),
            polls_at_once=polls_at_once,
            lost_after_s=lost_after_s,
            scales_from_zero=scales_from_zero,
            retry=retry,
            limits=limits,
        )
        self.create_timeout_s = positive(create_timeout_s, name, "create_timeout_s")
        self.get_timeout_s = positive(get_timeout_s, name, "get_timeout_s")
        self.delete_timeout_s = positive(delete_timeout_s, name, "delete_timeout_s")
        self._get: _OnHandle | None = None
        self._delete: _OnHandle | None = None

    def __repr__(self) -> str:
        return f"JobAgent({self.name!r})"

    # -- what an author registers --------------------------------------------------------------

    def create(self, function: Callable[P, R]) -> Callable[P, R]:
        """Register what submits a job and returns its handle; it takes what `@agent.step` takes.

        Raises:
            ConfigError: saying what is wrong with it.
        """
        if self._step is not None:
            raise self._twice("create")
        self._step = StepFunction(function, agent=self.name)
        return function

    def get(
        self, function: Callable[Concatenate[Handle, P], R]
    ) -> Callable[Concatenate[Handle, P], R]:
        """Register what says how far a job is: it takes the handle and returns a `JobStatus`.

        Raises:
            ConfigError: saying what is wrong with it.
        """
        if self._get is not None:
            raise self._twice("get")
        self._get = _OnHandle(function, f"`get` of agent {self.name!r}")
        return function

    def delete(
        self, function: Callable[Concatenate[Handle, P], R]
    ) -> Callable[Concatenate[Handle, P], R]:
        """Register what ends a job, whether or not it is there (any more): it takes the handle.

        Raises:
            ConfigError: saying what is wrong with it.
        """
        if self._delete is not None:
            raise self._twice("delete")
        self._delete = _OnHandle(function, f"`delete` of agent {self.name!r}")
        return function

    def step(self, function: Any) -> Any:  # noqa: ARG002 - the signature of an Agent
        """Refuse: a job agent's step is its job."""
        raise agent_error(
            f"agent {self.name!r} runs jobs: register create, get and delete, or make an Agent"
        )

    def tool(self, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse: a job agent has no tools."""
        raise agent_error(
            f"agent {self.name!r} runs jobs and has no tools: make a second agent of them"
        )

    def definition(self) -> AgentDefined:
        """Describe the agent for the registry.

        Raises:
            ConfigError: one of its three functions is missing.
        """
        having = {"create": self._step, "get": self._get, "delete": self._delete}
        missing = [name for name, function in having.items() if function is None]
        if missing:
            raise agent_error(
                f"agent {self.name!r} runs jobs and lacks {' and '.join(missing)}: register "
                + ", ".join(f"@agent.{name}" for name in missing)
            )
        return super().definition()

    # -- what is done with it ------------------------------------------------------------------

    async def begin(self, ready: StepReady, ctx: StepContext) -> Look:
        """Submit the job; its handle is fit to be kept."""
        create, raw = await self._submit(ready, ctx)
        try:
            create.check_return(raw)
            handle = handle_value(raw, f"the handle that `create` of agent {self.name!r} returned")
        except StepFailed:
            await self._end_at_once(raw, ctx)
            raise
        return Look(JobStatus(Phase.PENDING), handle)

    async def _submit(self, ready: StepReady, ctx: StepContext) -> tuple[StepFunction, Any]:
        if self._step is None:
            raise RuntimeError("definition() has been asked before")
        self._step.arguments(ready)  # a wrong input is told before anything is submitted
        for number in range(1, CREATE_TRIES + 1):
            what = f"`create` of agent {self.name!r}"
            try:
                doing = self._step.call(ready, ctx)
                return self._step, await within(self.create_timeout_s, doing, what)
            except TransientError as error:
                if error.code != "timeout" or number == CREATE_TRIES:
                    raise
                ctx.log.warning("create timed out, and is called again", calls=number)
        raise RuntimeError("the last try has returned or raised")

    async def _end_at_once(self, raw: Any, ctx: StepContext) -> None:
        """End a job whose handle cannot be kept, as far as that goes."""
        if self._delete is None:
            return
        try:
            doing = self._delete.call_raw(raw, ctx)
            await within(self.delete_timeout_s, doing, self._delete.what)
        except (Exception, SystemExit) as error:
            failure(error, ctx, what="a job could not be deleted, and may run on")

    async def observe(self, handle: JsonValue, ctx: StepContext) -> Look:
        """Ask `get` once."""
        if self._get is None:
            raise RuntimeError("definition() has been asked before")
        status = await within(self.get_timeout_s, self._get.call(handle, ctx), self._get.what)
        if not isinstance(status, JobStatus):
            raise StepFailed(
                f"{self._get.what} returned {type(status).__name__}; it has to be a JobStatus",
                code="output_invalid",
                retryable=True,
            )
        return Look(status, handle)

    async def end(self, handle: JsonValue, ctx: StepContext) -> None:
        """Ask `delete` once."""
        if self._delete is None:
            raise RuntimeError("definition() has been asked before")
        await within(self.delete_timeout_s, self._delete.call(handle, ctx), self._delete.what)

    def _twice(self, name: str) -> Exception:
        return agent_error(f"agent {self.name!r} has a `{name}` already; make a second agent")


class _OnHandle:
    """A function that takes a handle, and perhaps the context."""

    def __init__(self, function: Callable[..., Any], what: str) -> None:
        self.what = what
        self._function = function
        self._signature: Signature = read_signature(function, what)
        if len(self._signature.parameters) != 1:
            raise agent_error(
                f"{what}: it takes one parameter, the handle that `create` returned, and if it "
                "wants to a StepContext"
            )
        self._parameter = self._signature.parameters[0]
        where = f"{what}, parameter {self._parameter.name!r}"
        self._adapter: TypeAdapter[Any] = adapter(self._parameter.annotation, where)

    async def call(self, handle: JsonValue, ctx: StepContext) -> Any:
        """Call it with a handle that was kept.

        Raises:
            StepFailed: `handle_invalid`, the handle does not fit (any more).
        """
        try:
            value = self._adapter.validate_json(to_json(handle))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise StepFailed(
                f"{self.what} cannot read the handle that was kept: "
                f"{where + ': ' if where else ''}{first['msg']}; handles of earlier versions have "
                "to stay readable while their jobs run",
                code="handle_invalid",
                retryable=True,  # an instance of another version may read it
            ) from None
        return await self.call_raw(value, ctx)

    async def call_raw(self, value: Any, ctx: StepContext) -> Any:
        """Call it with the very value that `create` returned."""
        kwargs = {self._parameter.name: value}
        if self._signature.context is not None:
            kwargs[self._signature.context] = ctx
        returned = await call(self._function, kwargs)
        return await returned if inspect.isawaitable(returned) else returned
