"""Planning a run anew while it runs: on a failure, on a step's word, on a person's.

- Whoever wants another plan says why. The planner is asked with the run as it stands, and answers
  with an amendment; both go through the log, so the decision follows from the log alone.
- One at a time, in the order of the log: the next is asked for when the one before is decided, and
  judged against what that has left behind. Meanwhile no step of the run begins; what is at work
  goes on.
- An amendment may name steps that have begun: `rewinding` undoes those first.
- Where it makes no sense, the planner finds none, or does not answer in time, nothing is changed,
  and `amendment_rejected` says why. A run whose step has failed is then undone; another goes on.
- Steps may ask for another plan `max_replans` times in all, so that no run goes round for ever.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlings.messages.errors import ErrorInfo, Problem
from starlings.messages.facts import TimerKind
from starlings.messages.ids import replan_id
from starlings.messages.plan import FailurePolicy

from . import amending, rewinding
from .folding import Folding
from .state import Decision, DecisionKind, Replan, ReplanPhase, Run, StepState, TimerKey
from .transitions import Phase
from .turning import fail_round

OPEN_LIMIT = 20  # a run is no queue


def policy_after(run: Run, step: StepState) -> FailurePolicy:
    """Say what the failure of a step means, where it may not be planned anew any more."""
    policy = run.failure_policy(step)
    if policy is not FailurePolicy.REPLAN:
        return policy
    if step.item_of is not None:  # the list as a whole fails, once its other items have settled
        return FailurePolicy.CONTINUE
    spent = run.replans_by_steps >= run.options.max_replans
    return FailurePolicy.COMPENSATE if spent else policy


def want(run: Run, text: str, step: StepState | None = None, *, failed: bool = False) -> Replan:
    """Note that a run is to be planned anew."""
    run.replanned += 1
    replan = Replan(run.replanned, text, failed=failed)
    if step is not None:
        replan.step_id, replan.attempt = step.spec.id, step.attempt
        run.replans_by_steps += 1
    run.replans.append(replan)
    return replan


def want_by_word(folding: Folding, text: str, step: StepState) -> None:
    """Note that the result of a step asks for another plan; too many are refused."""
    run = folding.run
    spent = run.replans_by_steps >= run.options.max_replans
    replan = want(run, text, step)
    if spent:
        run.replans.remove(replan)
        problem = Problem(
            code="replans_used_up",
            step=step.spec.id,
            message=f"steps have had the run planned anew {run.options.max_replans} times",
            remedy="allow more (max_replans), or ask by hand",
        )
        _say_rejected(folding, replan.number, [problem])


def ask(folding: Folding) -> None:
    """Ask the planner for the first plan that is wanted, unless that is out of date."""
    run = folding.run
    replan = run.replans[0]
    if replan.failed and _is_overtaken(run.steps[replan.step_id or ""], replan):
        run.replans.pop(0)
        return
    replan.phase = ReplanPhase.ASKED
    _decide(folding, replan.number, DecisionKind.PLAN_ANEW)
    timer = TimerKey(TimerKind.REPLAN, None, replan.number)
    folding.arm(timer, run.options.replan_timeout_s)


def _is_overtaken(step: StepState, replan: Replan) -> bool:
    """Whether an amendment before this one has dealt with the failure."""
    return step.phase is not Phase.FAILED or step.attempt != replan.attempt


def current(run: Run, number: int | None, phase: ReplanPhase) -> Replan | None:
    """Find the open one of a number, where it has come that far."""
    first = run.replans[0] if run.replans else None
    return first if first and (first.number, first.phase) == (number, phase) else None


def propose(folding: Folding, replan: Replan) -> None:
    """Judge the planner's answer; what the agents are, is looked up elsewhere."""
    _forget_question(folding.run, replan)
    problems = amending.replan_problems(folding.run, replan)
    if problems:
        refuse(folding, replan, problems)
        return
    replan.phase = ReplanPhase.JUDGED
    _decide(folding, replan.number, DecisionKind.AMEND)


def accept(folding: Folding, replan: Replan) -> None:
    """Begin to apply an amendment, unless the run has gone on too far."""
    run = folding.run
    run.owed.pop(replan_id(run.run_id, replan.number, DecisionKind.AMEND.value), None)
    problems = amending.replan_problems(run, replan)
    if problems:
        refuse(folding, replan, problems)
    else:
        rewinding.begin(folding, replan)


def refuse(folding: Folding, replan: Replan, problems: list[Problem]) -> None:
    """Say why there is no other plan."""
    _say_rejected(folding, replan.number, problems)
    close(folding, replan, problems)


def close(folding: Folding, replan: Replan, problems: Sequence[Problem]) -> None:
    """Go on without another plan; a run whose step has failed turns round."""
    run = folding.run
    _forget_question(run, replan)
    run.owed.pop(replan_id(run.run_id, replan.number, DecisionKind.AMEND.value), None)
    run.replans.remove(replan)
    if replan.failed:
        step = run.steps[replan.step_id or ""]
        error = step.error or ErrorInfo(code="failed", message="it failed")
        why = "; ".join(problem.message for problem in problems[:3])
        told = error.model_copy(update={"message": f"{error.message} (no other plan: {why})"})
        fail_round(folding, step, told, stops=False)


def _forget_question(run: Run, replan: Replan) -> None:
    run.owed.pop(replan_id(run.run_id, replan.number, DecisionKind.PLAN_ANEW.value), None)
    run.timers.pop(TimerKey(TimerKind.REPLAN, None, replan.number), None)


def unanswered(folding: Folding) -> None:
    """Give up waiting for the planner."""
    replan = folding.run.replans[0]  # the only one for which a timer runs
    limit_s = folding.run.options.replan_timeout_s
    problem = Problem(
        code="replan_timeout",
        message=f"the planner did not answer within {limit_s:g} s (replan_timeout_s)",
        remedy="see that a planner runs, or give it more time",
    )
    refuse(folding, replan, [problem])


def _say_rejected(folding: Folding, number: int, problems: list[Problem]) -> None:
    folding.run.replans_refused[number] = problems
    _decide(folding, number, DecisionKind.REJECT)


def _decide(folding: Folding, number: int, kind: DecisionKind) -> None:
    ident = replan_id(folding.run.run_id, number, kind.value)
    folding.decide(Decision(ident, kind, number=number))
