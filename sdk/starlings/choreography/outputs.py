"""What decisions look like on Kafka: a function of the run's state, the same at every try."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from starlings.messages.amendments import Amendment, AmendmentRejected, PlanAmended
from starlings.messages.base import Message
from starlings.messages.commands import StopRequested
from starlings.messages.compensations import (
    CompensationAbandoned,
    CompensationReady,
    CompensationScheduled,
)
from starlings.messages.errors import ErrorInfo, InvariantBroken
from starlings.messages.facts import RunDone, StepSummary, StopAnnounced, UndoSummary
from starlings.messages.ids import attempt_id, replan_id, undo_id
from starlings.messages.plan import Approval, ModelOverride, Plan, Step, Timeouts
from starlings.messages.replanning import ReplanReady, ReplanScheduled
from starlings.messages.steps import (
    ApprovalRequested,
    DependencyResult,
    StepReady,
    StepScheduled,
    StepSkipped,
)

from . import mapping
from .context import combined_text
from .results import results_of
from .skipping import skip_reason
from .state import Decision, DecisionKind, Run, StepState, Undo
from .transitions import Phase, UndoPhase

ANNOUNCED = "/announced"
ELSEWHERE = frozenset(  # carried out on other topics than `events`, so confirmed there
    {
        DecisionKind.RELEASE,
        DecisionKind.PLAN_ANEW,
        DecisionKind.STOP,
        DecisionKind.UNDO,
        DecisionKind.BURY,
    }
)

CONFIRMING: Mapping[str, str] = {  # by the type on the wire, for readers of headers alone
    model.CE_TYPE: model.NAME
    for model in (
        StepScheduled,
        StepSkipped,
        StopAnnounced,
        ApprovalRequested,
        CompensationScheduled,
        CompensationAbandoned,
        ReplanScheduled,
    )
}


class Confirmation(NamedTuple):
    """The fact that says that a decision has been published elsewhere than on `events`."""

    id: str
    message: Message


def message_for(run: Run, decision: Decision) -> Message:
    """Build the message that carries a decision out."""
    if decision.kind is DecisionKind.END:
        return run_done(run)
    if decision.kind is DecisionKind.STOP:
        return _stop_requested(run, decision)
    if decision.kind in (DecisionKind.UNDO, DecisionKind.BURY):
        return _compensation_ready(run, decision)
    if decision.step_id is None:
        return _OF_A_REPLAN[decision.kind](run, decision.number)
    step = run.steps[decision.step_id]
    if decision.kind is DecisionKind.REJECT:
        return _amendment_rejected(run, step, decision.attempt)
    return _OF_A_STEP[decision.kind](run, step)


def _replan_ready(run: Run, number: int) -> ReplanReady:
    replan = next(replan for replan in run.replans if replan.number == number)
    there = [s for s in mapping.in_plan_order(run) if s.item_of is None]
    told = [_summary(run, step).model_copy(update={"output": None, "undone": []}) for step in there]
    return ReplanReady(
        run_id=run.run_id,
        number=number,
        text=replan.text,
        step_id=replan.step_id,
        request=run.request,
        plan=Plan.model_construct(steps=[s.spec for s in there if not s.removed]),
        steps=told,
    )


def _replan_amended(run: Run, number: int) -> PlanAmended:
    replan = next(replan for replan in run.replans if replan.number == number)
    amendment = replan.amendment or Amendment()
    return PlanAmended(run_id=run.run_id, replan=number, amendment=amendment)


def _replan_rejected(run: Run, number: int) -> AmendmentRejected:
    problems = run.replans_refused.get(number, [])
    return AmendmentRejected(run_id=run.run_id, replan=number, problems=problems)


_OF_A_REPLAN: dict[DecisionKind, Callable[[Run, int], Message]] = {
    DecisionKind.PLAN_ANEW: _replan_ready,
    DecisionKind.AMEND: _replan_amended,
    DecisionKind.REJECT: _replan_rejected,
}


def _amendment_rejected(run: Run, step: StepState, attempt: int) -> AmendmentRejected:
    return AmendmentRejected(
        run_id=run.run_id, step_id=step.spec.id, attempt=attempt, problems=step.rejected
    )


def _plan_amended(run: Run, step: StepState) -> PlanAmended:
    return PlanAmended(
        run_id=run.run_id,
        step_id=step.spec.id,
        attempt=step.attempt,
        amendment=step.amendment or Amendment(),
    )


def _step_skipped(run: Run, step: StepState) -> StepSkipped:
    return StepSkipped(
        run_id=run.run_id,
        step_id=step.spec.id,
        because=step.because,
        reason="" if step.because else skip_reason(run, step),
    )


def confirmation_for(run: Run, decision: Decision) -> Confirmation | None:
    """Build the confirming fact; None where the decision is itself a fact on `events`."""
    if decision.kind is DecisionKind.RELEASE:
        step = run.steps[decision.step_id or ""]
        return Confirmation(
            attempt_id(run.run_id, step.spec.id, decision.attempt, StepScheduled.NAME),
            StepScheduled.trusted(
                run_id=run.run_id,
                step_id=step.spec.id,
                attempt=decision.attempt,
                agent=step.spec.agent,
                variant=step.variant if decision.attempt == step.attempt else None,
            ),
        )
    if decision.kind is DecisionKind.PLAN_ANEW:
        scheduled = ReplanScheduled(run_id=run.run_id, number=decision.number)
        ident = replan_id(run.run_id, decision.number, ReplanScheduled.NAME)
        return Confirmation(ident, scheduled)
    if decision.kind is DecisionKind.STOP:
        announced = StopAnnounced(run_id=run.run_id, stop_id=decision.id)
        return Confirmation(decision.id + ANNOUNCED, announced)
    if decision.kind in (DecisionKind.UNDO, DecisionKind.BURY):
        return _undo_confirmation(run, decision)
    return None


def _undo_confirmation(run: Run, decision: Decision) -> Confirmation:
    step_id, attempt, number = decision.step_id or "", decision.attempt, decision.number
    undo = run.undos[step_id, attempt]
    fact: CompensationScheduled | CompensationAbandoned
    if decision.kind is DecisionKind.UNDO:
        fact = CompensationScheduled(
            run_id=run.run_id,
            step_id=step_id,
            attempt=attempt,
            number=number,
            agent=undo.spec.agent,
            replan=run.replans[0].number if run.steps[step_id].rewinding else None,
        )
    else:
        fact = CompensationAbandoned(
            run_id=run.run_id,
            step_id=step_id,
            attempt=attempt,
            number=number,
            error=abandoned(run, decision),
        )
    return Confirmation(undo_id(run.run_id, step_id, attempt, number, fact.NAME), fact)


def abandoned(run: Run, decision: Decision) -> ErrorInfo:
    """Say why a step could not be undone."""
    error = run.undos[decision.step_id or "", decision.attempt].error
    return error or ErrorInfo(code="compensation_failed", message="the step could not be undone")


_OF_A_TRY = {
    CompensationScheduled.NAME: DecisionKind.UNDO,
    CompensationAbandoned.NAME: DecisionKind.BURY,
}


def confirmed_decision(name: str, message_id: str) -> str | None:
    """Tell which decision a fact of the coordinator confirms, from its header alone.

    `name` is one of `CONFIRMING`. None where the id does not tell: others may write such facts
    too, under ids of their own.
    """
    if name == StepScheduled.NAME:
        return message_id.removesuffix(StepScheduled.NAME) + DecisionKind.RELEASE.value
    if name == StopAnnounced.NAME:
        return message_id.removesuffix(ANNOUNCED)
    if name in _OF_A_TRY:
        attempt, named, number = message_id.rpartition(f"/{name}/")
        return f"{attempt}/{_OF_A_TRY[name].value}/{number}" if named else None
    if name == ReplanScheduled.NAME:
        run_id, named, number = message_id.rpartition(f"/{name}/")
        return f"{run_id}/{DecisionKind.PLAN_ANEW.value}/{number}" if named else None
    return message_id if name in (StepSkipped.NAME, ApprovalRequested.NAME) else None


def _stop_requested(run: Run, decision: Decision) -> StopRequested:
    undoes = decision.number > 0
    upto = decision.number if undoes else decision.attempt
    return StopRequested(
        run_id=run.run_id,
        reason=decision.because,
        attempts={decision.step_id: upto} if decision.step_id else None,
        compensation=undoes,
        undoing=decision.attempt if undoes else None,
        generation=run.generation,
    )


def _approval_requested(run: Run, step: StepState) -> ApprovalRequested:
    return ApprovalRequested(
        run_id=run.run_id,
        step_id=step.spec.id,
        attempt=step.attempt,
        approval=step.spec.approval or Approval(question=step.spec.task),
        context=results_of(run, step),
    )


def _compensation_ready(run: Run, decision: Decision) -> CompensationReady:
    undo = run.undos[decision.step_id or "", decision.attempt]
    step, spec = run.order[undo.step], undo.spec
    result = DependencyResult.trusted(
        step_id=step.spec.id,
        agent=step.spec.agent,
        summary=undo.summary or "",
        output=undo.output,
        error=None,
        skipped=False,
    )
    return CompensationReady(
        run_id=run.run_id,
        step_id=step.spec.id,
        attempt=undo.attempt,
        number=decision.number,
        agent=spec.agent,
        task=spec.task,
        input=undo.output if spec.input is None else spec.input,
        tool=spec.tool,
        args=spec.args,
        context=[result],
        reason=decision.because,
        timeouts=spec.timeouts or Timeouts(),
    )


def step_ready(run: Run, step: StepState) -> StepReady:
    """Build the work for a step's current attempt, with the results of its dependencies."""
    spec = step.spec
    return StepReady.trusted(
        run_id=run.run_id,
        step_id=spec.id,
        attempt=step.attempt,
        agent=spec.agent,
        task=spec.task,
        input=spec.input,
        tool=spec.tool,
        args=spec.args,
        context=results_of(run, step),
        item=mapping.item_of(run, step),
        timeouts=run.timeouts(step),
        variant=step.variant,
        generation=run.generation,
        model=_asked(run, step.spec),
    )


def _asked(run: Run, spec: Step) -> ModelOverride | None:
    return run.options.model if spec.model is None else spec.model.over(run.options.model)


_OF_A_STEP: dict[DecisionKind, Callable[[Run, StepState], Message]] = {
    DecisionKind.RELEASE: step_ready,
    DecisionKind.SKIP: _step_skipped,
    DecisionKind.ASK: _approval_requested,
    DecisionKind.AMEND: _plan_amended,
}


def run_done(run: Run) -> RunDone:
    """Build the run's end: every step in plan order, and one text."""
    if run.outcome is None:
        raise InvariantBroken(f"run {run.run_id} has no outcome yet")
    in_order = list(mapping.in_plan_order(run))
    steps = [_summary(run, step) for step in in_order]
    own = [n for n, step in enumerate(in_order) if step.item_of is None]
    to_be_done = [in_order[n] for n in own if not in_order[n].passed_over]
    return RunDone(
        run_id=run.run_id,
        outcome=run.outcome,
        text=combined_text(steps[n] for n in own),
        output=to_be_done[-1].output if to_be_done else None,
        steps=steps,
        error=run.error,
        problems=run.problems,
        usage=run.used(),
        duration_s=max(run.ended_ms - run.began_ms, 0) / 1000,
        generation=run.generation,
    )


def _summary(run: Run, step: StepState) -> StepSummary:
    return StepSummary.trusted(
        step_id=step.spec.id,
        agent=step.spec.agent,
        state="removed" if step.removed else step.phase.value,
        attempts=step.attempt,
        summary=step.summary,
        output=step.output if step.item_of is None else None,  # the list of all has it
        error=step.error if step.phase is Phase.FAILED else None,
        undone=[_undone(run.undos[step.spec.id, attempt]) for attempt in step.undos],
        inherited=step.inherited,
    )


def _undone(undo: Undo) -> UndoSummary:
    error = None if undo.phase is UndoPhase.UNDONE else undo.error
    return UndoSummary(attempt=undo.attempt, state=undo.phase.value, tries=undo.number, error=error)
