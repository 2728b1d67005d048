"""Steps that no agent does: the run waits for a person's yes or no, or for a signal.

They take no place under `max_parallel`. A signal that comes before its step waits is kept for it,
in the order of the log.
"""

from __future__ import annotations

from typing import Any

from starlings.messages.commands import ApprovalGiven
from starlings.messages.errors import ErrorInfo
from starlings.messages.facts import TimerKind
from starlings.messages.ids import attempt_id
from starlings.messages.plan import ApprovalDefault

from .folding import Folding
from .state import Decision, DecisionKind, Run, StepState, TimerKey
from .transitions import StepEvent

SIGNALS_KEPT = 1_000  # by name: a run is no queue


def ask(folding: Folding, step: StepState) -> None:
    """Let a step wait for its word; a question goes out, a signal may be there already."""
    run, spec = folding.run, step.spec
    run.move(step, StepEvent.ASKED)
    step.attempt += 1
    limit = TimerKey(TimerKind.WAIT, spec.id, step.attempt)
    if spec.approval is not None:
        folding.arm(limit, spec.approval.timeout_s)
        ident = attempt_id(run.run_id, spec.id, step.attempt, DecisionKind.ASK.value)
        folding.decide(Decision(ident, DecisionKind.ASK, spec.id, step.attempt))
    if spec.signal is not None:
        folding.arm(limit, spec.signal.timeout_s)
        run.asking.setdefault(spec.signal.name, []).append(step.index)


def stop_asking(run: Run, step: StepState) -> None:
    """Forget a question that was answered, or whose run turned round."""
    ident = attempt_id(run.run_id, step.spec.id, step.attempt, DecisionKind.ASK.value)
    run.owed.pop(ident, None)
    name = step.spec.signal.name if step.spec.signal else None
    waiting = run.asking.get(name, []) if name else []
    if step.index in waiting:
        waiting.remove(step.index)
        if not waiting:
            run.asking.pop(name or "", None)


def kept_signal(run: Run, step: StepState) -> list[Any]:
    """Take the oldest payload that was kept for a step; empty where there is none."""
    name = step.spec.signal.name if step.spec.signal else None
    kept = run.signals.get(name) if name else None
    if not kept or not name:
        return []
    payload = kept.pop(0)
    if not kept:
        del run.signals[name]
    return [payload]


def keep_signal(run: Run, name: str, payload: Any) -> str | None:
    """Keep a payload for a step that may wait for it later; say why not, where it is not kept."""
    if name not in run.signals and not _is_waited_for(run, name):
        return f"no step waits for a signal {name!r}"
    kept = run.signals.setdefault(name, [])
    if len(kept) >= SIGNALS_KEPT:
        return f"{SIGNALS_KEPT} signals of that name wait already"
    kept.append(payload)
    return None


def _is_waited_for(run: Run, name: str) -> bool:
    """Whether a step will ask for a signal, now or later; what others send is not kept for ever."""
    awaited = (step.spec.signal for step in run.order if not step.settled or step.rewinding)
    return any(signal is not None and signal.name == name for signal in awaited)


def verdict(fact: ApprovalGiven) -> tuple[dict[str, Any], ErrorInfo | None]:
    """Turn a person's answer into the step's output, and its error where it was a no."""
    output = {"approved": fact.approved, "comment": fact.comment, "by": fact.given_by}
    if fact.approved:
        return output, None
    by = f" by {fact.given_by}" if fact.given_by else ""
    why = f": {fact.comment}" if fact.comment else ""
    return output, ErrorInfo(code="rejected", message=f"rejected{by}{why}")


def in_default(step: StepState) -> tuple[Any, ErrorInfo | None]:
    """Say what a step comes to for which no word came in time."""
    spec = step.spec
    if spec.approval is not None:
        message = f"nobody answered within {spec.approval.timeout_s or 0:g} s"
        if spec.approval.default is ApprovalDefault.APPROVE:
            return {"approved": True, "comment": message, "by": ""}, None
        return None, ErrorInfo(code="approval_timeout", message=message)
    signal = spec.signal
    if signal is not None and signal.default is not None:
        return signal.default, None
    name = signal.name if signal else ""
    limit = (signal.timeout_s if signal else None) or 0
    return None, ErrorInfo(
        code="signal_timeout", message=f"no signal {name!r} came within {limit:g} s"
    )
