"""A plan: a directed acyclic graph of steps, as clients, planners and coordinators see it.

Shape only. Whether a plan makes sense (agents exist, no cycles, …) is decided by
`starlings.choreography.validation`, which reports every problem at once.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, JsonValue, model_validator

from .base import AgentName, Model, SignalName, StepId, VariantName, is_none
from .conditions import Condition

HUMAN = "human"
SIGNAL = "signal"
WAITING_AGENTS = {"approval": HUMAN, "signal": SIGNAL}  # done by the coordinator, on no topic


class FailurePolicy(StrEnum):
    """What happens to the run when a step fails for good."""

    COMPENSATE = "compensate"
    STOP = "stop"
    CONTINUE = "continue"
    SKIP_DEPENDENTS = "skip_dependents"
    REPLAN = "replan"  # else, where that leads nowhere, as `compensate`


class RetryPolicy(Model):
    """How often a step is tried, and how long to wait in between (seconds)."""

    attempts: int = Field(default=3, ge=1, le=100)
    initial_s: float = Field(default=1.0, ge=0, le=86_400)
    factor: float = Field(default=2.0, ge=1, le=100)
    max_s: float = Field(default=60.0, ge=0, le=86_400)
    jitter: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="share of the wait by which it is made longer, by chance that is the same at "
        "every reading of the log",
    )
    escalate: list[VariantName] = Field(
        default_factory=list,
        max_length=10,
        description="variants of the agent, from small to large: an attempt that ran out of "
        "resources, or was not heard of again, is followed by one on the next of them",
    )


class Timeouts(Model):
    """Limits of one attempt, in seconds; None means no limit."""

    queue_s: float | None = Field(default=None, gt=0, description="released, but not started")
    run_s: float | None = Field(default=600.0, gt=0, description="started, but not done")
    heartbeat_s: float | None = Field(default=None, gt=0, description="between signs of life")


class Compensation(Model):
    """What undoes a step: work for an agent, recorded with the step's result or in the plan."""

    agent: AgentName
    task: str = ""
    input: JsonValue = Field(default=None, description="None: the output of the step to undo")
    tool: str | None = Field(default=None, description="call this tool of the agent")
    args: dict[str, JsonValue] | None = Field(default=None, description="arguments of `tool`")
    retry: RetryPolicy | None = Field(default=None, description="None: 10 attempts")
    timeouts: Timeouts | None = None


class ApprovalDefault(StrEnum):
    """What an approval counts as that nobody has given in time."""

    APPROVE = "approve"
    REJECT = "reject"


class Approval(Model):
    """A question that a person answers with yes or no before the run goes on."""

    question: str
    timeout_s: float | None = Field(
        default=None, gt=0, description="None: waits as long as it has to"
    )
    default: ApprovalDefault = ApprovalDefault.REJECT


class SignalWait(Model):
    """A word from outside that the run waits for; its payload is the step's output."""

    name: SignalName
    timeout_s: float | None = Field(
        default=None, gt=0, description="None: waits as long as it has to"
    )
    default: JsonValue = Field(
        default=None, description="payload where the time is up; None: the step fails"
    )


class ForEach(Model):
    """What a step is done for; `foreach: [...]` and `foreach: "{{…}}"` are short for `items`."""

    items: JsonValue = Field(
        description="a list, or one reference to a list: {{steps.<id>.output…}}"
    )
    max_parallel: int | None = Field(
        default=None, ge=1, description="items at once; None: as many as the run allows"
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_short_form(cls, data: Any) -> Any:
        return {"items": data} if isinstance(data, list | str) else data


class SkippedPolicy(StrEnum):
    """What dependencies that were skipped mean for a step."""

    RUN = "run"
    SKIP = "skip"


class ModelOverride(Model):
    """How models are to be asked otherwise than their agents would; null: as they would.

    Nothing here says where a model is asked, or with which key: that stays with the agent.
    """

    model: str | None = Field(
        default=None, min_length=1, max_length=200, description="by the name its server gives it"
    )
    temperature: float | None = Field(default=None, ge=0, le=2)
    prompt: str | None = Field(
        default=None,
        min_length=1,
        max_length=20_000,
        description="further instructions, behind those of the agent",
    )

    def over(self, other: ModelOverride | None) -> ModelOverride:
        """Say what holds where another one holds unless this one says otherwise."""
        if other is None:
            return self
        return other.model_copy(update=self.model_dump(exclude_none=True))


class Step(Model):
    """One unit of work for one agent, or something that the run waits for.

    A step with `approval` or `signal` is done by the coordinator, and its agent is called `human`
    or `signal`.
    """

    id: StepId
    agent: AgentName
    task: str = ""
    depends_on: list[StepId] = Field(default_factory=list)
    input: JsonValue = Field(default=None, description="structured input beside the task's text")
    tool: str | None = Field(default=None, description="call this tool; no model is asked")
    args: dict[str, JsonValue] | None = Field(default=None, description="arguments of `tool`")
    on_failure: FailurePolicy | None = None
    retry: RetryPolicy | None = None
    timeouts: Timeouts | None = None
    compensate: Compensation | None = Field(
        default=None, description="undoes the step; goes before what its agent records"
    )
    approval: Approval | None = None
    signal: SignalWait | None = None
    when: Condition | None = Field(
        default=None,
        exclude_if=is_none,
        description="skip the step unless this holds once its dependencies have settled",
    )
    foreach: ForEach | None = Field(
        default=None,
        exclude_if=is_none,
        description="do the step for each item of a list, as steps <id>[0], <id>[1], …; "
        "{{item}} and {{index}} stand for the item, and the output is the list of theirs",
    )
    on_skipped: SkippedPolicy | None = Field(
        default=None,
        exclude_if=is_none,
        description="what skipped dependencies mean; None: the step is skipped where all are",
    )
    model: ModelOverride | None = Field(
        default=None,
        exclude_if=is_none,
        description="how its agent's model is asked; goes before what the run says",
    )


Share = Annotated[float, Field(ge=0, le=1)]


MAX_REPLANS = 2
REPLAN_TIMEOUT_S = 120.0
UNDO_QUEUE_S = 3_600.0  # what a request means that says nothing: then it stands in the plan


class Budget(Model):
    """What a run may use; looked at before each step that it makes ready."""

    tokens: int | None = Field(default=None, description="of input and output together")
    cost_usd: float | None = Field(default=None, description="as far as prices are known")
    wall_time_s: float | None = Field(
        default=None, description="seconds since its plan; see timeout_s for steps at work"
    )


class RunOptions(Model):
    """Choices that hold for a whole run."""

    max_parallel: int | None = Field(default=None, description="steps at once; None: no limit")
    on_failure: FailurePolicy = FailurePolicy.COMPENSATE
    retry: RetryPolicy = Field(default_factory=RetryPolicy)
    timeouts: Timeouts = Field(default_factory=Timeouts)
    timeout_s: float | None = Field(default=None, gt=0, description="limit of the whole run")
    deadline: AwareDatetime | None = Field(default=None, description="end of the whole run")
    undo_queue_s: float | None = Field(
        default=None,
        gt=0,
        description="how long a compensation whose own timeouts name no queue_s waits for an "
        "agent, beside the time that it may take; None: as long as it has to",
    )
    budget: Budget | None = Field(default=None, exclude_if=is_none, description="None: no limit")
    max_replans: int = Field(
        default=MAX_REPLANS,
        ge=0,
        le=100,
        description="how often steps may have the run planned anew; people may beside that",
    )
    replan_timeout_s: float = Field(
        default=REPLAN_TIMEOUT_S,
        gt=0,
        le=86_400,
        description="how long a run waits for the planner",
    )
    routing: dict[AgentName, dict[VariantName, Share]] = Field(
        default_factory=dict,
        description="share of the runs whose steps for an agent go to a variant of it",
    )
    model: ModelOverride | None = Field(
        default=None, exclude_if=is_none, description="how the models of its steps are asked"
    )


class Plan(Model):
    """Steps in a readable order; the order breaks ties, the dependencies decide.

    The short form `{"steps": [{"agent": "math", "task": "…", "dependencies": [0]}]}` with
    0-based indices is accepted beside ids with `depends_on`.
    """

    steps: list[Step]

    @model_validator(mode="before")
    @classmethod
    def _accept_short_form(cls, data: Any) -> Any:
        return normalise_plan(data)


def normalise_plan(data: Any) -> Any:
    """Give steps their ids and turn 0-based `dependencies` into `depends_on`.

    Leaves alone whatever it does not understand, for validation to report.
    """
    if isinstance(data, list):
        data = {"steps": data}
    if not isinstance(data, dict) or not isinstance(data.get("steps"), list):
        return data
    steps = data["steps"]
    if all(_is_written_out(step) for step in steps):  # as plans on Kafka are
        return data
    ids = [_step_id(step, index) for index, step in enumerate(steps)]
    numbers = _numbers(steps, ids)
    return {**data, "steps": [_with_ids(step, ids[i], numbers) for i, step in enumerate(steps)]}


def _is_written_out(step: Any) -> bool:
    """Whether a step has its id and its agent, and names what it depends on."""
    if not isinstance(step, dict) or "dependencies" in step or "agent" not in step:
        return False
    ident, depends_on = step.get("id"), step.get("depends_on", [])
    if not isinstance(ident, str) or not ident or not isinstance(depends_on, list):
        return False
    return all(isinstance(dependency, str) for dependency in depends_on)


def _step_id(step: Any, index: int) -> Any:
    given = step.get("id") if isinstance(step, dict) else None
    if given is None or given == "":
        return f"s{index + 1}"
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _numbers(steps: list[Any], ids: list[Any]) -> dict[int, Any]:
    """Tell what numbers among the dependencies stand for.

    0-based indices; but where steps have numbers for ids and every dependency is one of those, the
    writer meant the ids: `{"id": 1}, {"id": 2, "depends_on": [1]}`.
    """
    given = {s["id"] for s in steps if isinstance(s, dict) and _is_number(s.get("id"))}
    used = {
        d
        for step in steps
        if isinstance(step, dict)
        for name in ("dependencies", "depends_on")
        if isinstance(step.get(name), list)
        for d in step[name]
        if _is_number(d)
    }
    if given and used <= given:
        return {number: str(number) for number in given}
    return dict(enumerate(ids))


def _with_ids(step: Any, ident: Any, numbers: dict[int, Any]) -> Any:
    if not isinstance(step, dict):
        return step
    step = {**step, "id": ident}
    for field, agent in WAITING_AGENTS.items():
        if step.get(field) is not None:
            step.setdefault("agent", agent)
    listed = step.pop("dependencies", None)
    if listed is not None and not step.get("depends_on"):
        step["depends_on"] = listed
    if isinstance(step.get("depends_on"), list):
        step["depends_on"] = [_dependency(d, numbers) for d in step["depends_on"]]
    elif step.get("depends_on", ...) is None:
        step["depends_on"] = []
    return step


def _dependency(value: Any, numbers: dict[int, Any]) -> Any:
    return numbers.get(value, f"#{value}") if _is_number(value) else value
