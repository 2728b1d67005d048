"""The audit of what is undone finds what was left, doubled, made up, or undone in a wrong order."""

from __future__ import annotations

import pytest
from support.chaos import workload
from support.chaos.audit import audit
from support.chaos.evidence import Blow, Evidence
from support.chaos.schedules import dice
from support.chaos.told import PID, Told

from starlings.messages import (
    CompensationDone,
    CompensationReady,
    RunOutcome,
    StepDone,
    StepOutcome,
)

RUN, OTHER = "r", "other"


@pytest.fixture
def undone() -> Evidence:
    """The evidence of a chain of three that is undone, and of a run that completes."""
    names = ["a", "b", "c", "d"]
    steps = [
        {"id": name, "agent": "north", "input": {}, "depends_on": names[n - 1 : n]}
        for n, name in enumerate(names)
    ]
    steps[0]["depends_on"] = []
    steps[-1]["input"] = {"fails": True}
    saga = workload.undone(RUN, steps)
    return Told(saga, workload.probe(OTHER)).evidence


def found(evidence: Evidence) -> set[str]:
    return {finding.rule for finding in audit(evidence)}


def drop(evidence: Evidence, kind: type, step_id: str) -> None:
    """Lose all messages of a kind about a step."""
    for rows in (evidence.events, evidence.steps):
        rows[:] = [
            row
            for row in rows
            if not (isinstance(row.message, kind) and row.message.step_id == step_id)
        ]


def undoing(evidence: Evidence, step_id: str) -> int:
    """Find where in the journal a step was undone."""
    return next(
        n for n, each in enumerate(evidence.executions) if each.undoes and each.step_id == step_id
    )


def copied(evidence: Evidence, kind: type, **fields: object) -> None:
    """Put a copy of a message of a kind with other contents into the log."""
    rows = evidence.steps if kind is CompensationReady else evidence.events
    row = next(row for row in rows if isinstance(row.message, kind))
    message = row.message.model_copy(update=fields)
    value = message.__pydantic_serializer__.to_json(message)
    rows.append(row._replace(offset=9_999, id="copy", value=value, message=message))


def test_nothing_is_found_where_all_was_undone(undone):
    assert audit(undone) == []
    ends = {run_id: rows[0].message.outcome for run_id, rows in undone.ends().items()}
    assert ends == {RUN: RunOutcome.COMPENSATED, OTHER: RunOutcome.COMPLETED}
    assert [each.step_id for each in undone.executions if each.undoes] == ["c", "b", "a"]


def test_sagas_of_every_shape_are_clean():
    rng = dice(5, "sagas")
    asked = [shape(rng, f"r{n}-{m}") for m in range(5) for n, shape in enumerate(workload.SAGAS)]
    assert audit(Told(*asked).evidence) == []


def test_a_compensation_of_what_was_not_done_is_found(undone):
    copied(undone, CompensationDone, step_id="d")
    assert "no orphan" in found(undone)


def test_a_compensation_of_another_attempt_than_was_done_is_found(undone):
    copied(undone, CompensationReady, attempt=2)
    assert "no orphan" in found(undone)


def test_a_compensation_in_a_run_that_completed_is_found(undone):
    copied(undone, CompensationReady, run_id=OTHER, step_id="p0")
    assert "no orphan" in found(undone)


def test_a_done_step_that_nobody_undid_is_found(undone):
    drop(undone, CompensationReady, "b")
    drop(undone, CompensationDone, "b")
    del undone.executions[undoing(undone, "b")]
    assert "all undone" in found(undone)


def test_an_effect_that_nobody_reported_and_nobody_undid_is_found(undone):
    drop(undone, StepDone, "c")
    drop(undone, CompensationReady, "c")
    drop(undone, CompensationDone, "c")
    del undone.executions[undoing(undone, "c")]
    assert "all undone" in found(undone)


def test_forward_work_after_its_compensation_is_found(undone):
    end_s = undone.executions[-1].ended_s + 1
    late = next(each for each in undone.executions if each.step_id == "a" and not each.undoes)
    undone.executions.append(late._replace(began_s=end_s, ended_s=end_s + 1, pid=78))
    undone.blows.append(Blow("kill", "agent", 0.0, 0, until_s=1e9, pid=PID))
    assert found(undone) == {"all undone"}


def test_what_was_stopped_at_work_may_be_undone(undone):
    row = next(row for row in undone.of(StepDone) if row.message.step_id == "c")
    died = row.message.model_copy(update={"outcome": StepOutcome.CANCELLED})
    undone.events[undone.events.index(row)] = row._replace(message=died)
    assert "no orphan" not in found(undone)


def test_a_compensation_without_a_result_is_found(undone):
    drop(undone, CompensationDone, "b")
    assert "no undoing lost" in found(undone)


def test_a_result_of_a_compensation_that_nobody_ordered_is_found(undone):
    drop(undone, CompensationReady, "b")
    assert "no undoing lost" in found(undone)


def test_a_compensation_that_is_reported_and_was_not_done_is_found(undone):
    del undone.executions[undoing(undone, "a")]
    assert found(undone) == {"all undone"}


def test_a_compensation_that_was_done_and_is_not_reported_is_found(undone):
    row = next(row for row in undone.of(CompensationDone) if row.message.step_id == "a")
    failed = row.message.model_copy(update={"outcome": StepOutcome.ERROR})
    undone.events[undone.events.index(row)] = row._replace(message=failed)
    assert "all undone" in found(undone)


def test_a_step_that_is_undone_before_its_dependents_is_found(undone):
    last, first = undoing(undone, "a"), undoing(undone, "c")
    began_s = undone.executions[first].began_s - 0.001
    undone.executions[last] = undone.executions[last]._replace(began_s=began_s)
    assert found(undone) == {"undone in order"}


def test_a_compensation_that_was_done_twice_without_a_reason_is_found(undone):
    each = undone.executions[undoing(undone, "a")]
    undone.executions.append(each._replace(pid=78, began_s=each.began_s + 0.001))
    assert found(undone) == {"effect once"}
    undone.blows.append(Blow("kill", "agent", each.began_s, 0, pid=PID))
    assert found(undone) == set()


def test_a_compensation_under_another_key_is_found(undone):
    place = undoing(undone, "a")
    each = undone.executions[place]
    undone.executions[place] = each._replace(key=f"{RUN}/a/1")
    assert found(undone) == {"one key"}


def test_a_compensation_that_is_tried_again_needs_no_reason(undone):
    place = undoing(undone, "c")
    each = undone.executions[place]
    stumbled = each._replace(began_s=each.began_s - 0.001, end="stumbled")
    undone.executions.insert(place, stumbled)
    assert found(undone) == set()
