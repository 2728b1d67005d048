"""The audit itself: it passes what is right, and finds every fault that is planted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.chaos import workload
from support.chaos.audit import audit
from support.chaos.evidence import Blow, Evidence, Row
from support.chaos.figures import figures, table
from support.chaos.schedules import dice
from support.chaos.told import PID, Told

from starlings.messages import RunDone, RunOutcome, StepDone, StepReady


@pytest.fixture
def clean() -> Evidence:
    """The evidence of a run of each shape, in which nothing went wrong."""
    rng = dice(3, "audit")
    shaped = [shape(rng, f"r{n}") for n, shape in enumerate(workload.SHAPES)]
    return Told(*shaped, workload.probe("p")).evidence


def of_kind(rows: list[Row], kind: type) -> list[Row]:
    return [row for row in rows if isinstance(row.message, kind)]


def altered(row: Row, **fields: object) -> Row:
    """Make a record with another content under the same id, behind all others."""
    message = row.message.model_copy(update=fields)
    value = message.__pydantic_serializer__.to_json(message)
    return row._replace(offset=10_000, value=value, message=message)


def found(evidence: Evidence) -> set[str]:
    return {finding.rule for finding in audit(evidence)}


def forget(rows: list[Row], kind: type, run_id: str) -> None:
    rows[:] = [row for row in rows if not (isinstance(row.message, kind) and row.run_id == run_id)]


def test_nothing_is_found_where_nothing_went_wrong(clean):
    assert audit(clean) == []
    assert {asked.outcome for asked in clean.asked.values()} == {
        RunOutcome.COMPLETED,
        RunOutcome.PARTIAL,
        RunOutcome.FAILED,
        RunOutcome.COMPENSATED,
    }
    assert any(each.undoes for each in clean.executions)


def test_repeats_of_everything_are_nothing_to_find(clean):
    for rows in (clean.requests, clean.events, clean.steps, clean.control):
        rows += [row._replace(offset=row.offset + 5_000) for row in rows]
    assert audit(clean) == []


def test_a_lost_run_is_found(clean):
    forget(clean.events, RunDone, "r0")
    assert {"run ends", "same decisions"} <= found(clean)


def test_a_lost_request_is_found(clean):
    clean.requests[:] = [row for row in clean.requests if row.run_id != "r0"]
    assert found(clean) == {"request kept"}


def test_a_run_that_nobody_asked_for_is_found(clean):
    del clean.asked["r0"]
    assert "run ends" in found(clean)


def test_two_different_ends_of_a_run_are_found(clean):
    end = clean.ends()["r0"][0]
    clean.events.append(altered(end, outcome=RunOutcome.FAILED))
    assert "one outcome" in found(clean)


def test_two_ends_that_differ_in_a_single_byte_are_found(clean):
    end = clean.ends()["r0"][0]
    clean.events.append(altered(end, duration_s=end.message.duration_s + 0.001))
    assert found(clean) == {"one outcome"}


def test_a_wrong_end_is_found(clean):
    clean.asked["r0"] = replace(clean.asked["r0"], outcome=RunOutcome.CANCELLED)
    assert found(clean) == {"right end"}


def test_a_cancelled_run_is_right_only_where_it_was_cancelled():
    asked = replace(workload.probe("r"), cancelled=True)
    told = Told(asked).evidence
    assert audit(told) == []
    told.asked["r"] = replace(asked, cancelled=False)
    assert found(told) == {"right end"}


def test_a_wrong_output_is_found(clean):
    asked = clean.asked["r0"]
    clean.asked["r0"] = replace(asked, outputs={**asked.outputs, "s1": "other"})
    assert found(clean) == {"right end"}


def test_a_lost_result_is_found(clean):
    forget(clean.events, StepDone, "r0")
    assert "no result lost" in found(clean)


def test_a_result_that_comes_from_nowhere_is_found(clean):
    done = of_kind(clean.events, StepDone)[0]
    clean.events.append(altered(done, attempt=9))
    assert "no result lost" in found(clean)


def test_two_different_results_of_an_attempt_are_found(clean):
    done = of_kind(clean.events, StepDone)[0]
    clean.events.append(altered(done, output="other"))
    assert "results agree" in found(clean)


def test_work_that_does_not_follow_from_the_log_is_found(clean):
    ready = of_kind(clean.steps, StepReady)[0]
    clean.steps.append(ready._replace(id="r0/s0/7/step_ready", offset=9_999))
    assert found(clean) == {"same decisions"}


def test_work_that_was_decided_and_never_handed_out_is_found(clean):
    forget(clean.steps, StepReady, "p")
    assert {"same decisions", "no result lost"} <= found(clean)


def test_work_with_another_content_than_the_log_decides_is_found(clean):
    ready = of_kind(clean.steps, StepReady)[0]
    clean.steps[clean.steps.index(ready)] = altered(ready, task="something else")
    assert found(clean) == {"same decisions"}


def test_a_dead_letter_is_found(clean):
    clean.dead_letters.append(Row("dead-letters", 0, 0, 5, "", b"?", None))
    assert found(clean) == {"dead letters"}


def test_a_message_that_cannot_be_read_is_found(clean):
    clean.events[0] = clean.events[0]._replace(message=None)
    assert "dead letters" in found(clean)


def test_a_process_that_did_not_end_well_is_found(clean):
    clean.exit_codes["planner"] = -11
    assert found(clean) == {"clean end"}


def again(evidence: Evidence, pid: int = 78, **fields: object) -> None:
    """Have the first step that took effect executed once more."""
    first = next(each for each in evidence.executions if each.end == "did")
    began_s = first.began_s + 0.005
    fields |= {"began_s": began_s, "ended_s": began_s + 0.01, "pid": pid}
    evidence.executions.append(first._replace(**fields))


def test_a_doubled_effect_is_found(clean):
    again(clean)
    assert found(clean) == {"effect once"}


def test_a_doubled_effect_under_another_key_is_found_whatever_happened(clean):
    again(clean, attempt=2, key="r0/s0/2")
    clean.blows.append(Blow("kill", "agent", 0.0, 0, until_s=1e9, pid=PID))
    assert found(clean) == {"effect once"}


def test_a_key_that_does_not_name_its_attempt_is_found(clean):
    first = clean.executions[0]
    clean.executions[0] = first._replace(key="chance")
    assert "one key" in found(clean)


def test_a_result_without_an_effect_is_found(clean):
    clean.executions.pop(0)
    assert "effect once" in found(clean)


def test_a_step_that_began_before_its_dependency_had_ended_is_found(clean):
    last = max(clean.executions, key=lambda each: (each.run_id == "r0", each.began_s))
    index = clean.executions.index(last)
    clean.executions[index] = last._replace(began_s=0.0)
    assert "order" in found(clean)


@pytest.mark.parametrize(
    ("kind", "victim", "pid", "excused"),
    [
        ("kill", "agent", PID, True),
        ("stop", "agent", PID, True),
        ("kill", "coordinator", 5, False),
        ("kill", "agent-2", 5, True),  # partitions move
        ("start", "agent", None, True),
        ("kill_broker", "", None, True),
        ("freeze_broker", "", None, True),
        ("repeat", "steps", None, False),
    ],
)
def test_a_doubled_effect_is_excused_only_by_what_can_cause_it(clean, kind, victim, pid, excused):
    again(clean)
    clean.blows.append(Blow(kind, victim, clean.executions[0].began_s, 0, pid=pid))
    assert (found(clean) == set()) is excused


def test_a_blow_at_another_time_excuses_nothing(clean):
    again(clean)
    clean.blows.append(Blow("kill", "agent", clean.executions[0].began_s + 60, 0, pid=PID))
    assert found(clean) == {"effect once"}


def test_a_rebalance_does_not_excuse_a_process_that_repeats_itself(clean):
    again(clean, pid=PID)
    clean.blows.append(Blow("start", "agent", clean.executions[0].began_s, 0))
    assert found(clean) == {"effect once"}


def test_a_rebalance_does_not_excuse_a_step_that_was_claimed(clean):
    again(clean)
    clean.claimed_after_s = 0.001
    clean.blows.append(Blow("start", "agent", clean.executions[0].began_s, 0))
    assert found(clean) == {"effect once"}


def test_a_finding_says_where_to_look(clean):
    end = clean.ends()["r0"][0]
    clean.events.append(altered(end, outcome=RunOutcome.FAILED))
    (text,) = (str(f) for f in audit(clean) if f.rule == "one outcome")
    assert "r0" in text
    assert f"events/0/{end.offset}" in text
    assert "events/0/10000" in text


def test_figures_count_what_was_lost_and_doubled(clean):
    again(clean)
    forget(clean.events, RunDone, "p")
    clean.blows.append(Blow("kill", "agent", 0, at_ms=0, probes=("r0",)))
    counted = figures("some", clean, audit(clean))
    assert (counted.runs, counted.lost) == (len(clean.asked), 1)
    assert (counted.again, counted.doubled) == (1, 1)
    assert counted.recoveries_s == [clean.ends()["r0"][0].at_ms / 1000]
    assert table([counted]).splitlines()[-1].split()[:2] == ["some", str(len(clean.asked))]
