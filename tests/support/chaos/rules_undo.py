"""Rules about what is undone: all that stands in a run that was undone, once, from the end.

A step is undone where its end said how (`step_done.compensation`). The log says what was ordered
and reported, the journal of the agents what was really done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TypeAlias

from starlings.messages import (
    CompensationAbandoned,
    CompensationDone,
    CompensationReady,
    RunOutcome,
    StepOutcome,
)

from .evidence import Evidence, Execution, Row
from .findings import Finding, Rule, places
from .workload import Steps

Attempt: TypeAlias = tuple[str, str, int]
UNDONE = {RunOutcome.COMPENSATED, RunOutcome.COMPENSATION_FAILED, RunOutcome.CANCELLED}


def no_compensation_is_an_orphan(evidence: Evidence) -> Iterator[Finding]:
    """What is undone was done, or may have been, and its run was turned round."""
    done = {
        attempt
        for attempt, rows in evidence.results().items()
        if any(row.message.compensation is not None for row in rows)
    }
    outcomes = {run_id: rows[0].message.outcome for run_id, rows in evidence.ends().items()}
    for row in [*_orders(evidence), *evidence.of(CompensationDone)]:
        attempt = _attempt(row)
        if attempt not in done:
            text = f"attempt {attempt[2]} of {attempt[1]} is undone, and was not done"
            yield Finding("no orphan", row.run_id, text, places(row))
        elif outcomes.get(row.run_id, RunOutcome.COMPENSATED) not in UNDONE:
            text = f"{attempt[1]} is undone in a run that ended {outcomes[row.run_id]}"
            yield Finding("no orphan", row.run_id, text, places(row))


def every_done_step_is_undone(evidence: Evidence) -> Iterator[Finding]:
    """In a run that is to be undone, every attempt that succeeded was undone."""
    undone = {
        _attempt(row)
        for row in evidence.of(CompensationDone)
        if row.message.outcome is StepOutcome.OK
    }
    compensated = _compensated(evidence)
    for attempt, rows in _done(evidence).items():
        if attempt[0] in compensated and attempt not in undone:
            text = f"attempt {attempt[2]} of {attempt[1]} succeeded, and was not undone"
            yield Finding("all undone", attempt[0], text, places(*rows))


def no_effect_is_left(evidence: Evidence) -> Iterator[Finding]:
    """In a run that is to be undone, no effect stands that was not undone after it."""
    for each in effects_left(evidence):
        text = f"attempt {each.attempt} of {each.step_id} took effect, and that stands still"
        yield Finding("all undone", each.run_id, text)


def effects_left(evidence: Evidence) -> list[Execution]:
    """List what stands in runs that were to be undone."""
    undone: dict[Attempt, float] = {}
    for each in evidence.executions:
        if each.undoes and each.end == "undid":
            undone[each.what] = max(each.ended_s or 0.0, undone.get(each.what, 0.0))
    compensated = _compensated(evidence)
    return [
        each
        for each in evidence.executions
        if not each.undoes
        and each.end == "did"
        and each.run_id in compensated
        and undone.get(each.what, -1.0) < (each.ended_s or 0.0)
    ]


def every_order_to_undo_has_an_end(evidence: Evidence) -> Iterator[Finding]:
    """Every try to undo has a result, none comes from nowhere, and none was given up."""
    ordered = {(*_attempt(row), row.message.number): row for row in _orders(evidence)}
    ended = {(*_attempt(row), row.message.number): row for row in evidence.of(CompensationDone)}
    for only, text in (
        (ordered.keys() - ended.keys(), "was ordered and has no result"),
        (ended.keys() - ordered.keys(), "has a result and was never ordered"),
    ):
        for run_id, step_id, attempt, number in only:
            what = f"try {number} to undo attempt {attempt} of {step_id} {text}"
            row = (ordered | ended)[run_id, step_id, attempt, number]
            yield Finding("no undoing lost", run_id, what, places(row))
    for row in evidence.of(CompensationAbandoned):
        yield Finding("no undoing lost", row.run_id, "undoing was given up", places(row))


def what_is_reported_as_undone_was_undone(evidence: Evidence) -> Iterator[Finding]:
    """A compensation that says ok stands for an effect, and an effect for a report."""
    undid = {each.what for each in evidence.executions if each.undoes and each.end == "undid"}
    reported = {
        _attempt(row): row
        for row in evidence.of(CompensationDone)
        if row.message.outcome is StepOutcome.OK
    }
    for attempt in reported.keys() - undid:
        text = f"attempt {attempt[2]} of {attempt[1]} is reported as undone, and was not"
        yield Finding("all undone", attempt[0], text, places(reported[attempt]))
    for attempt in undid - reported.keys():
        text = f"attempt {attempt[2]} of {attempt[1]} was undone, and nobody said so"
        yield Finding("all undone", attempt[0], text)


def steps_are_undone_from_the_end(evidence: Evidence) -> Iterator[Finding]:
    """No step begins to be undone before all that built upon it is."""
    began: dict[tuple[str, str], float] = {}
    undone: dict[tuple[str, str], float] = {}
    for each in evidence.executions:
        if each.undoes:
            step = each.run_id, each.step_id
            began[step] = min(each.began_s, began.get(step, each.began_s))
            if each.end == "undid" and each.ended_s is not None:
                undone[step] = min(each.ended_s, undone.get(step, each.ended_s))
    for (run_id, step_id), began_s in began.items():
        asked = evidence.asked.get(run_id)
        for later in _dependents(asked.steps, step_id) if asked else ():
            if (run_id, later) not in began:
                continue  # it was never done: what is missing here is found by other rules
            if undone.get((run_id, later), float("inf")) > began_s:
                text = f"{step_id} began to be undone before {later} was"
                yield Finding("undone in order", run_id, text)


def _dependents(steps: Steps, step_id: str) -> set[str]:
    """Name all steps that build upon a step, directly or through others."""
    found = {step_id}
    for step in steps:  # in their order: dependencies first
        if found & set(step["depends_on"]):
            found.add(step["id"])
    return found - {step_id}


def _compensated(evidence: Evidence) -> set[str]:
    """Name the runs of which nothing may be left."""
    return {
        run_id
        for run_id, rows in evidence.ends().items()
        if run_id in evidence.asked and evidence.asked[run_id].is_undone(rows[0].message.outcome)
    }


def _done(evidence: Evidence) -> dict[Attempt, list[Row]]:
    """List the attempts that said how they are undone."""
    found: dict[Attempt, list[Row]] = defaultdict(list)
    for attempt, rows in evidence.results().items():
        for row in rows:
            if row.message.outcome is StepOutcome.OK and row.message.compensation is not None:
                found[attempt].append(row)
    return found


def _orders(evidence: Evidence) -> list[Row]:
    return [row for row in evidence.steps if isinstance(row.message, CompensationReady)]


def _attempt(row: Row) -> Attempt:
    return row.run_id, row.message.step_id, row.message.attempt


RULES: tuple[Rule, ...] = (
    no_compensation_is_an_orphan,
    every_done_step_is_undone,
    no_effect_is_left,
    every_order_to_undo_has_an_end,
    what_is_reported_as_undone_was_undone,
    steps_are_undone_from_the_end,
)
