"""A run's state as JSON and back, for carrying it forward on the log.

What can be worked out again (dependents, counters, the ready heap) is not written. A restored run
is equal to the one that was saved, field for field (the ready heap: item for item): a property test
holds that.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from starlings.messages.amendments import Amendment
from starlings.messages.errors import ErrorInfo, InvariantBroken, Problem
from starlings.messages.facts import RunOutcome, TimerKind
from starlings.messages.plan import Compensation, RunOptions, Step

from . import mapping
from .state import (
    Decision,
    DecisionKind,
    Replan,
    ReplanPhase,
    Run,
    StepState,
    TimerKey,
    Undo,
)
from .transitions import OUT, SETTLED, UNDOING, Phase, RunPhase, UndoPhase

STATE_VERSION = 4
READABLE = (2, 3, STATE_VERSION)


def save(run: Run) -> dict[str, Any]:
    """Write a run's state as JSON values."""
    return {
        "version": STATE_VERSION,
        "options": run.options.model_dump(mode="json"),
        "began_ms": run.began_ms,
        "request": run.request,
        "tags": run.tags,
        **_save_origin(run),
        "phase": run.phase.value,
        "steps": [_save_step(run, step) for step in run.order],
        "owed": [list(decision) for decision in run.owed.values()],
        "timers": [[*key, due_ms] for key, due_ms in run.timers.items()],
        "outcome": run.outcome.value if run.outcome else None,
        "error": _dump(run.error),
        "problems": [problem.model_dump(mode="json") for problem in run.problems],
        "ended_ms": run.ended_ms,
        "usage": dict(run.usage),  # counted on while the snapshot is on its way
        "used_before": dict(run.used_before),
        "opened_ms": run.opened_ms,
        "generation": run.generation,
        "paused": run.paused,
        "reason": run.reason,
        "undos": [_save_undo(undo) for undo in run.undos.values()],
        "signals": {name: list(kept) for name, kept in run.signals.items()},
        "replanning": _save_replanning(run),
    }


def load(run_id: str, plan_offset: int, state: dict[str, Any]) -> Run:
    """Build a run from its saved state.

    Raises:
        InvariantBroken: the state was written by another version of this code, or has timers that
            cannot fire.
    """
    if state["version"] not in READABLE:
        raise InvariantBroken(
            f"the snapshot of run {run_id} has state version {state['version']}; this coordinator "
            f"reads {' and '.join(map(str, READABLE))}: run the version that wrote it"
        )
    run = Run(
        run_id=run_id,
        options=RunOptions.model_validate(state["options"]),
        plan_offset=plan_offset,
        began_ms=state["began_ms"],
        request=state["request"],
        tags=state["tags"],
        forked_from=_origin(state.get("forked_from")),
        phase=RunPhase(state["phase"]),
        outcome=RunOutcome(state["outcome"]) if state["outcome"] else None,
        error=_error(state["error"]),
        problems=[Problem.model_validate(p) for p in state["problems"]],
        ended_ms=state["ended_ms"],
        usage=dict(state["usage"]),
        used_before=dict(state.get("used_before", {})),
        opened_ms=state.get("opened_ms", state["began_ms"]),
        generation=state["generation"],
        paused=state["paused"],
        reason=state["reason"],
        signals={name: list(kept) for name, kept in state["signals"].items()},
    )
    _load_specs(run, state["steps"])
    for step, saved in zip(run.order, state["steps"], strict=True):
        _load_step(step, saved)
    for saved in state["undos"]:
        _load_undo(run, saved)
    if state.get("replanning"):
        _load_replanning(run, state["replanning"])
    for ident, kind, *rest in state["owed"]:
        run.owed[ident] = Decision(ident, DecisionKind(kind), *rest)
    _count(run)
    for saved in state["timers"]:
        _load_timer(run, *saved)
    return run


def _save_origin(run: Run) -> dict[str, Any]:
    return {"forked_from": list(run.forked_from)} if run.forked_from else {}


def _origin(saved: list[Any] | None) -> tuple[str, int] | None:
    return (saved[0], saved[1]) if saved else None


def _save_replanning(run: Run) -> dict[str, Any] | None:
    if not run.replanned:
        return None
    refused = run.replans_refused.items()
    return {
        "replanned": run.replanned,
        "by_steps": run.replans_by_steps,
        "open": [_save_replan(replan) for replan in run.replans],
        "refused": [[n, [p.model_dump(mode="json") for p in problems]] for n, problems in refused],
    }


def _save_replan(replan: Replan) -> dict[str, Any]:
    amendment = replan.amendment
    return {
        "number": replan.number,
        "text": replan.text,
        "step_id": replan.step_id,
        "attempt": replan.attempt,
        "failed": replan.failed,
        "phase": replan.phase.value,
        "amendment": amendment and amendment.model_dump(mode="json", exclude_defaults=True),
    }


def _load_replanning(run: Run, saved: dict[str, Any]) -> None:
    run.replanned, run.replans_by_steps = saved["replanned"], saved["by_steps"]
    for one in saved["open"]:
        amendment = one["amendment"]
        known = Amendment.model_validate(amendment) if amendment is not None else None
        read = {"phase": ReplanPhase(one["phase"]), "amendment": known}
        run.replans.append(Replan(**{**one, **read}))
    for number, problems in saved["refused"]:
        run.replans_refused[number] = [Problem.model_validate(p) for p in problems]


def _save_step(run: Run, step: StepState) -> dict[str, Any]:
    return {
        **_save_spec(run, step),
        "phase": step.phase.value,
        "attempt": step.attempt,
        "missing": step.missing,
        "output": step.output,
        "summary": step.summary,
        "error": _dump(step.error),
        "because": step.because,
        "variant": step.variant,
        "level": step.level,
        "reopened_at": step.reopened_at,
        "compensation": _dump(step.compensation),
        "lost": step.lost,
        "unheard": list(step.unheard),
        "undos": list(step.undos),
        "blockers": step.blockers,
        "cleared": step.cleared,
    }


def _save_spec(run: Run, step: StepState) -> dict[str, Any]:
    """An item is what its step says, so that a long list costs little; but for its input."""
    amended = step.amendment or step.rejected or step.added or step.removed
    saved: dict[str, Any] = {"amended": _save_amendment(step)} if amended else {}
    if step.inherited:
        saved["inherited"] = True
    if step.rewound_by or step.rewinding:
        saved["rewound"] = _save_rewound(step)
    if step.item_of is None or step.removed:
        saved |= {"spec": step.spec.model_dump(mode="json", exclude_defaults=True)}
        if step.item_of is not None:  # the list is another by now, or will be
            saved |= {"item_of": step.item_of, "item": step.item}
        if step.items is not None:
            saved["items"] = [_bounds(step.items), step.next_item, step.uncleared]
            saved |= _save_handed_on(run, step)
        return saved
    saved |= {"item_of": step.item_of, "item": step.item}
    if step.spec.input != run.order[step.item_of].spec.input:
        saved["input"] = step.spec.input
    return saved


def _save_handed_on(run: Run, step: StepState) -> dict[str, Any]:
    """What items get to see was said when they were laid out; the step may have changed since."""
    seen = [run.order[index].spec.depends_on for index in (step.items or ())[:1]]
    return {} if seen in ([], [mapping.handed_on(step)]) else {"handed_on": seen[0]}


def _bounds(items: Sequence[int]) -> list[int] | dict[str, list[int]]:
    """Write the places of items shortly, where they follow on each other."""
    first, last = (items[0], items[-1] + 1) if items else (0, 0)
    return [first, last] if list(items) == list(range(first, last)) else {"places": list(items)}


def _save_rewound(step: StepState) -> dict[str, Any]:
    return {
        "rewinding": step.rewinding,
        "by": step.rewound_by,
        "at": step.rewound_at,
        "formerly": [[upto, _dump(spec)] for upto, spec in step.formerly],
    }


def _load_rewound(step: StepState, saved: dict[str, Any]) -> None:
    step.rewinding, step.rewound_by, step.rewound_at = saved["rewinding"], saved["by"], saved["at"]
    for upto, spec in saved["formerly"]:
        former = Compensation.model_validate(spec) if spec is not None else None
        step.formerly.append((upto, former))


def _save_amendment(step: StepState) -> dict[str, Any]:
    amendment = step.amendment
    return {
        "amendment": amendment.model_dump(mode="json", exclude_defaults=True)
        if amendment
        else None,
        "rejected": [problem.model_dump(mode="json") for problem in step.rejected],
        "added": list(step.added),
        "removed": step.removed,
    }


def _load_amendment(step: StepState, saved: dict[str, Any]) -> None:
    if saved["amendment"] is not None:
        step.amendment = Amendment.model_validate(saved["amendment"])
    step.rejected = [Problem.model_validate(p) for p in saved["rejected"]]
    step.added, step.removed = list(saved["added"]), saved["removed"]


def _load_specs(run: Run, saved_steps: list[dict[str, Any]]) -> None:
    before: dict[int, list[str]] = {}
    for saved in saved_steps:
        if "spec" in saved:
            step = run.add(Step.model_validate(saved["spec"]))
            step.item_of, step.item = saved.get("item_of"), saved.get("item", 0)
            if "items" in saved:
                before[step.index] = saved.get("handed_on", mapping.handed_on(step))
        else:
            whole = run.order[saved["item_of"]]
            item = mapping.add_item(run, whole, saved["item"], before[whole.index])
            if "input" in saved:
                item.spec = item.spec.model_copy(update={"input": saved["input"]})
    run.connect(step for step in run.order if step.item_of is None)


def _load_step(step: StepState, saved: dict[str, Any]) -> None:
    step.phase = Phase(saved["phase"])
    step.attempt = saved["attempt"]
    step.missing = saved["missing"]
    step.output = saved["output"]
    step.summary = saved["summary"]
    step.error = _error(saved["error"])
    step.because = saved["because"]
    step.inherited = saved.get("inherited", False)
    step.variant, step.level = saved["variant"], saved["level"]
    step.reopened_at = saved["reopened_at"]
    if saved["compensation"] is not None:
        step.compensation = Compensation.model_validate(saved["compensation"])
    step.lost, step.unheard = saved["lost"], list(saved["unheard"])
    step.undos = list(saved["undos"])
    step.blockers, step.cleared = saved["blockers"], saved["cleared"]
    if "amended" in saved:
        _load_amendment(step, saved["amended"])
    if "rewound" in saved:
        _load_rewound(step, saved["rewound"])
    if "items" in saved:
        *bounds, step.next_item, step.uncleared = saved["items"]
        step.items = _places(bounds)


def _places(bounds: list[Any]) -> list[int]:
    """Read the places of items; version 3 wrote the bounds without brackets."""
    if len(bounds) == 1:
        (bounds,) = bounds
    return list(bounds["places"]) if isinstance(bounds, dict) else list(range(*bounds))


def _load_timer(run: Run, kind: str, step_id: str | None, attempt: int, due_ms: int) -> None:
    known = step_id is None or step_id in run.steps
    if not known or type(attempt) is not int or type(due_ms) is not int:
        raise InvariantBroken(f"no timer: {kind!r} of {step_id!r}, {attempt!r}, due {due_ms!r}")
    run.timers[TimerKey(TimerKind(kind), step_id, attempt)] = due_ms


def _save_undo(undo: Undo) -> dict[str, Any]:
    return {
        "step": undo.step,
        "attempt": undo.attempt,
        "spec": _dump(undo.spec),
        "output": undo.output,
        "summary": undo.summary,
        "phase": undo.phase.value,
        "number": undo.number,
        "reopened_at": undo.reopened_at,
        "error": _dump(undo.error),
    }


def _load_undo(run: Run, saved: dict[str, Any]) -> None:
    undo = Undo(
        step=saved["step"],
        attempt=saved["attempt"],
        spec=Compensation.model_validate(saved["spec"]),
        output=saved["output"],
        summary=saved["summary"],
        phase=UndoPhase(saved["phase"]),
        number=saved["number"],
        reopened_at=saved["reopened_at"],
        error=_error(saved["error"]),
    )
    run.undos[run.order[undo.step].spec.id, undo.attempt] = undo


def _count(run: Run) -> None:
    undos = run.undos.values()
    run.out = sum(step.phase in OUT for step in run.order)
    run.out += sum(undo.phase is UndoPhase.RELEASED for undo in undos)
    run.amending = sum(step.phase is Phase.AMENDING for step in run.order)
    run.rewinding = sum(step.rewinding and not step.cleared for step in run.order)
    run.unsettled = sum(step.phase not in SETTLED for step in run.order)
    run.ready = [step.index for step in run.order if step.phase is Phase.READY]
    heapq.heapify(run.ready)
    run.undoing = sum(undo.phase in UNDOING for undo in undos)
    run.burials = sum(d.kind is DecisionKind.BURY for d in run.owed.values())
    run.undo_ready = [(-u.step, u.attempt) for u in undos if u.phase is UndoPhase.READY]
    heapq.heapify(run.undo_ready)
    for step in run.order:
        mapping.count(run, step)
        if step.phase is Phase.ASKING and step.spec.signal is not None:
            run.asking.setdefault(step.spec.signal.name, []).append(step.index)


def _dump(model: BaseModel | None) -> dict[str, Any] | None:
    return model.model_dump(mode="json") if model else None


def _error(saved: dict[str, Any] | None) -> ErrorInfo | None:
    return ErrorInfo.model_validate(saved) if saved else None
