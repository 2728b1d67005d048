"""Making a fork: a run that goes on otherwise from what another one has come to.

Pure: from a run as its facts tell it, and what shall be otherwise, to the fact that begins the
fork. The original is only read. Who forks decides what is inherited (`inheritance`); the plan is
checked like every plan, and what is inherited may not be changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from starlings.choreography import Run, check_plan, parse_plan
from starlings.choreography.mapping import in_plan_order
from starlings.choreography.retries import USUAL
from starlings.messages import (
    AgentDefined,
    CommandRefused,
    ConfigError,
    InheritedResult,
    ModelOverride,
    Plan,
    PlanInvalid,
    Problem,
    RetryPolicy,
    RunForked,
    RunOptions,
    RunSnapshot,
    Step,
    StepDone,
)
from starlings.messages.plan import normalise_plan
from starlings.planning import with_retries

from .entries import BEGINNINGS
from .inheritance import Inheritance, chosen, inheritance
from .recorded import RecordedRun

_BEGINNINGS = frozenset({*BEGINNINGS, RunSnapshot.NAME})
OF_MODELS = tuple(ModelOverride.model_fields)
OF_STEPS = ("task", "input", "args", "tool")
_SHOWN = 60


@dataclass(frozen=True)
class Wishes:
    """What shall be otherwise than in the run that is forked."""

    from_step: str | None = None
    plan: Any = None  # as a file has it; in place of all that is not inherited
    model: Mapping[str, Any] = field(default_factory=dict)  # fields of a ModelOverride
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # fields by step
    variants: Mapping[str, str] = field(default_factory=dict)  # by agent


@dataclass(frozen=True)
class Known:
    """Which agents there are to do it."""

    agents: Mapping[str, AgentDefined]
    alive: Collection[str]
    variants: Collection[tuple[str, str]]  # agent and variant, of living instances


def fork_of(
    told: RecordedRun, wishes: Wishes, *, run_id: str, known: Known, requested_by: str = ""
) -> RunForked:
    """Make the fact that begins a fork.

    Raises:
        CommandRefused: as the run stands, there is nothing to fork.
        ConfigError: what is wished for is none of the run.
        PlanInvalid: the fork's plan makes no sense, with every problem.
    """
    then, part = _taken_over(told, wishes)
    options = _options(then, wishes)
    plan = _plan(then, part, wishes, options)
    results = list(_unchanged(part, then, plan))
    inherited = {result.step_id for result in results}
    new = [step for step in plan.steps if step.id not in inherited]
    if not new:
        raise CommandRefused(
            f"nothing would run: all of run {told.run_id} is done, and would be inherited; name a "
            "step to go on from (--from-step), or an offset (--at)"
        )
    _check_agents(new, plan, wishes, known)
    of_run = then.options.retry if then.options.retry != RetryPolicy() else None
    with_theirs = with_retries(Plan.model_construct(steps=new), known.agents, of_run=of_run)
    instead = {step.id: step for step in with_theirs.steps}
    return RunForked(
        run_id=run_id,
        from_run=told.run_id,
        from_offset=told.last_offset,
        request=then.request,
        plan=Plan.model_construct(steps=[instead.get(step.id, step) for step in plan.steps]),
        options=options,
        tags=then.tags,
        inherited=results,
        changed=list(_changes(wishes)),
        requested_by=requested_by,
    )


# -- the run that is forked ------------------------------------------------------------------------


def _taken_over(told: RecordedRun, wishes: Wishes) -> tuple[Run, Inheritance]:
    then, now = told.then.run, told.now.run
    if then is None or now is None:
        raise CommandRefused(_why_nothing(told))
    _check_names(then, wishes)
    _check_readable(told, then, chosen(then, wishes.from_step))
    return then, inheritance(then, now, wishes.from_step)


def _why_nothing(told: RecordedRun) -> str:
    run_id, now = told.run_id, told.now
    if now.first is None:
        bad = told.unreadable[0].problem if told.unreadable else "no fact of it is there"
        return f"run {run_id} cannot be forked: {bad}"
    first = now.first.origin.offset
    if told.until is not None and told.until < first:
        return f"run {run_id} had not begun by offset {told.until}: its facts begin at {first}"
    worst = next((lost for lost in told.unreadable if lost.type in _BEGINNINGS), None)
    if worst is not None:
        return f"run {run_id} cannot be forked: {worst.type or worst.id} {worst.problem}"
    if now.run is not None:
        return (
            f"how run {run_id} stood at offset {told.until} is not known: its facts are complete "
            f"from offset {now.since} on; an archive that was exported earlier may have them "
            "(--from FILE)"
        )
    if now.chain.events:
        return f"run {run_id} has no plan: events that agents react to cannot be forked"
    return (
        f"the beginning of run {run_id} is gone: its facts that are left begin at offset {first}; "
        "an archive that was exported earlier may have it (--from FILE)"
    )


def _check_names(run: Run, wishes: Wishes) -> None:
    if not run.order:
        raise CommandRefused(
            f"run {run.run_id} has no plan to go on with (it was rejected): ask for a new run"
        )
    name = wishes.from_step
    if name is not None and (name not in run.steps or run.steps[name].removed):
        there = ", ".join(list(run.steps)[:20])
        raise ConfigError(f"run {run.run_id} has no step {name!r}; there are: {there}")


def _check_readable(told: RecordedRun, run: Run, anew: Collection[str]) -> None:
    """Insist on results that could not be read: doing them anew is for somebody to choose."""
    for lost in told.unreadable:
        if lost.type != StepDone.NAME or (told.until is not None and lost.offset > told.until):
            continue
        ident = lost.id.removeprefix(f"{told.run_id}/").removesuffix(f"/{StepDone.NAME}")
        name = ident.rpartition("/")[0]
        if name in run.steps and name not in anew:
            raise CommandRefused(
                f"the result of step {name!r} cannot be read ({lost.problem}); --from-step {name} "
                "does it anew, an archive with its blobs may have it (--from FILE)"
            )


# -- plan and options ------------------------------------------------------------------------------


def _options(run: Run, wishes: Wishes) -> RunOptions:
    """Take the choices of the run over, but for a deadline: that is a date of its own."""
    changed: dict[str, Any] = {"deadline": None}
    if wishes.model:
        changed["model"] = ModelOverride(**wishes.model).over(run.options.model)
    routing = {agent: {name: 1.0} for agent, name in wishes.variants.items()}
    changed["routing"] = {**run.options.routing, **routing}
    return run.options.model_copy(update=changed)


def _plan(run: Run, part: Inheritance, wishes: Wishes, options: RunOptions) -> Plan:
    own = [s.spec for s in in_plan_order(run) if s.item_of is None and not s.removed]
    specs = [_without(spec, part.gone) for spec in own if spec.id not in part.gone]
    data = [spec.model_dump(mode="json", exclude_defaults=True) for spec in specs]
    taken = part.steps
    if wishes.plan is not None:
        data = _with_plan(data, wishes.plan, [spec for spec in specs if spec.id in taken])
    steps = {str(step.get("id")): step for step in data if isinstance(step, dict)}
    for name, changes in wishes.steps.items():
        _check_may_change(name, steps, taken)
        _change(steps[name], changes)
    for name, step in steps.items():
        if name not in taken:
            _route(step, wishes, options)
    return parse_plan({"steps": data}, options=options)


def _without(spec: Step, gone: Collection[str]) -> Step:
    left = [name for name in spec.depends_on if name not in gone]
    return spec.model_copy(update={"depends_on": left}) if gone else spec


def _with_plan(data: list[dict[str, Any]], plan: Any, inherited: list[Step]) -> list[Any]:
    """Put a plan in place of all that is not inherited; raise where it changes what is."""
    normal = normalise_plan(plan)
    given = normal.get("steps") if isinstance(normal, dict) else None
    if not isinstance(given, list):
        return [plan]  # which no plan is: the checks say why
    known = {spec.id: spec for spec in inherited}
    problems = [p for step in given for p in _changed_inheritance(step, known)]
    if problems:
        raise PlanInvalid(problems)
    kept = [step for step in data if step["id"] in known]
    return [*kept, *(s for s in given if not (isinstance(s, dict) and s.get("id") in known))]


def _changed_inheritance(step: Any, known: Mapping[str, Step]) -> Iterator[Problem]:
    was = known.get(str(step.get("id"))) if isinstance(step, dict) else None
    if was is None:
        return
    spec, is_one = was, False
    with suppress(ValidationError):
        spec, is_one = Step.model_validate(step), True
    if spec.retry is None:  # agents' own retries are written into plans
        spec = spec.model_copy(update={"retry": was.retry})
    fields = [name for name in Step.model_fields if getattr(spec, name) != getattr(was, name)]
    if fields or not is_one:
        yield Problem(
            code="inherited_changed",
            step=was.id,
            field=fields[0] if fields else None,
            message="the plan changes a step whose result is inherited",
            remedy=f"leave it as it was, or have it done anew: --from-step {was.id}",
        )


def _check_may_change(name: str, steps: Mapping[str, Any], taken: Collection[str]) -> None:
    if name not in steps:
        there = ", ".join(list(steps)[:20])
        raise ConfigError(f"there is no step {name!r} to set anything of; there are: {there}")
    if name in taken:
        raise ConfigError(
            f"step {name!r} is inherited, so nothing can be set of it: --from-step {name} does it "
            "anew"
        )


def _change(step: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for name, value in changes.items():
        if name in OF_MODELS:
            step["model"] = {**(step.get("model") or {}), name: value}
        else:
            step[name] = value


def _route(step: dict[str, Any], wishes: Wishes, options: RunOptions) -> None:
    """Let a step go to the variant that is wished for, which an escalation would go before."""
    if step.get("agent") not in wishes.variants:
        return
    own = step.get("retry") or options.retry.model_dump(mode="json")
    if isinstance(own, dict) and own.get("escalate"):
        step["retry"] = {**own, "escalate": []}


def _unchanged(part: Inheritance, run: Run, plan: Plan) -> Iterator[InheritedResult]:
    """Yield the results of steps that are as they were; of an item, its list has to be."""
    now = {step.id: step for step in plan.steps}
    for result in part.results:
        name = result.step_id
        whole = run.order[run.steps[name].item_of or 0].spec
        is_item = run.steps[name].item_of is not None
        if now.get(whole.id) == whole if is_item else name in now:
            yield result


def _check_agents(new: list[Step], plan: Plan, wishes: Wishes, known: Known) -> None:
    """Look for everybody who is to do something; who did what is inherited may be gone."""
    alive = {*known.alive, *wishes.variants}
    names = {step.id for step in plan.steps}
    part = Plan.model_construct(steps=new)
    problems = check_plan(part, agents=known.agents, alive=alive, known=names)
    problems += _variant_problems(new, wishes, known)
    if problems:
        raise PlanInvalid(problems)


def _variant_problems(new: list[Step], wishes: Wishes, known: Known) -> Iterator[Problem]:
    for agent, variant in wishes.variants.items():
        defined = known.agents.get(agent)
        if all(step.agent != agent for step in new):
            message = f"no step that is done anew is of agent {agent!r}"
            yield _problem("unused_agent", agent, message, "name an agent of such a step")
            continue
        from_zero = defined is None or defined.scales_from_zero
        if variant != USUAL and not from_zero and (agent, variant) not in known.variants:
            message = f"no instance of variant {variant!r} of agent {agent!r} is alive"
            yield _problem("variant_not_alive", agent, message, "start it with --variant")


def _problem(code: str, agent: str, message: str, remedy: str) -> Problem:
    return Problem(code=code, field=f"routing.{agent}", message=message, remedy=remedy)


# -- in words --------------------------------------------------------------------------------------


def _changes(wishes: Wishes) -> Iterator[str]:
    if wishes.from_step is not None:
        yield f"from step {wishes.from_step}"
    if wishes.plan is not None:
        yield "another plan"
    for name, value in wishes.model.items():
        yield f"{name}={str(value)[:_SHOWN]}"
    for step_id, changes in wishes.steps.items():
        for name, value in changes.items():
            yield f"{step_id}.{name}={str(value)[:_SHOWN]}"
    for agent, variant in wishes.variants.items():
        yield f"{agent}={variant}"
