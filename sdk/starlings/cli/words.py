"""How it is told what a run waits for, and what people have said to it."""

from __future__ import annotations

from rich.text import Text

from starlings.choreography import Phase, StepState
from starlings.client import RunView
from starlings.client.answering import asked_form
from starlings.messages import (
    AmendmentRejected,
    Approval,
    ApprovalDefault,
    CancelRequested,
    Message,
    PauseRequested,
    PlanAmended,
    ReplanRequested,
    ResumeRequested,
    RetryRequested,
    SignalReceived,
)

from .printing import clean
from .times import duration_text

LOCAL = "local"  # stands for the topic of runs in this process
_LIMIT = 300


def wait_text(view: RunView, step: StepState) -> str:
    """Say what a step waits for, until when, and how it can be told."""
    approval, signal = step.spec.approval, step.spec.signal
    run_id, step_id = view.run_id, step.spec.id
    if approval is not None:
        said = f"asks: {clean(approval.question, _LIMIT)}"
        notes = [_in_default(approval), f"`starlings approve|reject {run_id} {step_id}`"]
    else:
        name, limit_s = (signal.name, signal.timeout_s) if signal else ("", None)
        said = f"waits for the signal {name}"
        limit = f"for {duration_text(limit_s)}" if limit_s else ""
        notes = [limit, f"`starlings signal {run_id} {name}`"]
    if _is_here(view):
        notes.pop()
    told = "; ".join(note for note in notes if note)
    return f"{said} ({told})" if told else said


def _is_here(view: RunView) -> bool:
    """Whether the run is in this process, where no other command can reach it."""
    return view.first is not None and view.first.origin.topic == LOCAL


def _in_default(approval: Approval) -> str:
    if approval.timeout_s is None:
        return ""
    word = "approved" if approval.default is ApprovalDefault.APPROVE else "rejected"
    return f"{word} where nobody answers within {duration_text(approval.timeout_s)}"


def word_of(view: RunView, step: StepState) -> str | None:
    """Say what a step waits for, or what was answered; None where there is nothing to say."""
    if step.phase is Phase.ASKING:
        return wait_text(view, step)
    output = step.output
    if step.spec.approval is None or not isinstance(output, dict) or not output.get("approved"):
        return None
    return clean(f"approved{_by(output.get('by'))}{_why(output.get('comment'))}", _LIMIT)


def form_text(view: RunView, step: StepState, progress: object) -> str | None:
    """Say what a person is asked by a form that waits, and how to answer; None for other steps."""
    said = asked_form(step.spec.agent, progress)
    if said is None:
        return None
    names = said.get("fields")
    fields = "".join(f" --field {name}=…" for name in names) if isinstance(names, dict) else ""
    problems = said.get("problems")
    wrong = ""
    if isinstance(problems, list):
        wrong = f" (an answer did not fit: {'; '.join(map(str, problems))})"
    how = f" · starlings answer {view.run_id} {step.spec.id}{fields}"
    return clean(f"{said['asks']}{wrong}{'' if _is_here(view) else how}", _LIMIT)


def asked_text(step: StepState) -> str:
    """Say in the plan what a step is going to wait for."""
    if step.spec.approval is not None:
        return step.spec.approval.question
    return f"waits for the signal {step.spec.signal.name}" if step.spec.signal else ""


def word_line(view: RunView, fact: Message) -> Text | None:
    """Tell what somebody wants of the run, where that changed something; None for other facts."""
    said = _said(view, fact) if view.refused is None else None
    return Text(f"  {said[0]} {clean(said[1], _LIMIT)}", style="magenta") if said else None


def _said(view: RunView, fact: Message) -> tuple[str, str] | None:
    if isinstance(fact, PauseRequested):
        return "‖", f"paused{_by(fact.requested_by)}{_why(fact.reason)}"
    if isinstance(fact, ResumeRequested):
        return "▶", f"goes on{_by(fact.requested_by)}"
    if isinstance(fact, CancelRequested):
        return "■", f"cancelled{_by(fact.requested_by)}{_why(fact.reason)}"
    if isinstance(fact, RetryRequested):
        what = "undoes again" if fact.compensation else "goes on from where it failed"
        which = f": {fact.step_id}" if fact.step_id else ""
        given = ", with another input" if fact.input is not None else ""
        return "↻", f"{what}{_by(fact.requested_by)}{which}{given}"
    if isinstance(fact, SignalReceived):
        kept = view.run is not None and bool(view.run.signals.get(fact.name))
        return "✉", f"signal {fact.name}{_by(fact.sent_by)}{', kept for later' if kept else ''}"
    return _said_of_plan(fact)


def _said_of_plan(fact: Message) -> tuple[str, str] | None:
    if isinstance(fact, ReplanRequested):
        return "✎", f"to be planned anew{_by(fact.requested_by)}{_why(fact.text)}"
    if isinstance(fact, PlanAmended | AmendmentRejected):
        return amendment_mark(fact), amendment_text(fact)
    return None


def amendment_mark(fact: PlanAmended | AmendmentRejected) -> str:
    """Mark an amendment, or its refusal."""
    return "✎" if isinstance(fact, PlanAmended) else "✗"


def amendment_text(fact: PlanAmended | AmendmentRejected) -> str:
    """Say what an amendment changes and why, or why it was refused."""
    of = f"by {fact.step_id}" if fact.step_id else f"planned anew ({fact.replan})"
    if isinstance(fact, AmendmentRejected):
        return f"not amended, {of}: {'; '.join(str(problem) for problem in fact.problems)}"
    changed = fact.amendment
    parts = {
        "adds": [step.id for step in changed.add],
        "replaces": [step.id for step in changed.replace],
        "removes": changed.remove,
        "does again": changed.invalidate,
    }
    said = "; ".join(f"{what} {', '.join(names)}" for what, names in parts.items() if names)
    return f"amended, {of}: {said or 'nothing'}{_why(changed.reason)}"


def pause_text(view: RunView) -> Text | None:
    """Say that a run is paused, and how it goes on; None where it is not."""
    if view.run is None or not view.run.paused or view.done is not None:
        return None
    return Text(f"  ‖ paused: `starlings resume {view.run_id}` lets it go on", style="magenta")


def _by(who: object) -> str:
    return f" by {who}" if who else ""


def _why(reason: object) -> str:
    return f": {reason}" if reason else ""
