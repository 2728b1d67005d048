"""A run as a waterfall, whose critical path adds up to the whole run."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from support.golden.recorder import Recorder, Told
from support.golden.records import READER, golden_entries, kafka_record
from support.golden.scenarios import DEMO, SCENARIOS, UNDO

from starlings.messages import (
    Approval,
    ApprovalGiven,
    PauseRequested,
    ResumeRequested,
    RetryPolicy,
    Step,
)
from starlings.replay.timeline import Part, timeline


async def runs_of(entries):
    runs = {}
    for entry in entries:
        runs.setdefault(entry.run_id, []).append(entry.received)
    return runs


async def told(recorder):
    entries = [await READER.read(kafka_record(line)) for line in recorder.lines]
    ((run_id, facts),) = (await runs_of(entries)).items()
    return timeline(run_id, facts)


def parts(line, step_id):
    (lane,) = (lane for lane in line.lanes if lane.step_id == step_id)
    return [(bar.part, bar.length_ms) for bar in lane.bars]


def names(line):
    return [(each.step_id, each.bar.part) for each in line.path if each.bar.length_ms]


@pytest.mark.parametrize("name", SCENARIOS)
async def test_the_critical_path_lies_end_to_end_and_adds_up_to_the_run(name):
    for run_id, facts in (await runs_of(await golden_entries(name))).items():
        line = timeline(run_id, facts)
        if line is None:
            continue
        assert sum(line.shares().values()) == line.length_ms, run_id
        for before, after in pairwise(line.path):
            assert before.bar.end_ms == after.bar.begin_ms
        for lane in line.lanes:
            for bar in lane.bars:
                assert line.begin_ms <= bar.begin_ms <= bar.end_ms <= line.end_ms


async def test_work_is_reckoned_back_from_its_end_since_short_steps_tell_no_beginning():
    recorder = Recorder()
    run = Told(recorder, "r", *DEMO[:1])
    recorder.wait(2)
    run.ok("s1", 50, duration_s=1.5)
    line = await told(recorder)
    (queue, working) = parts(line, "s1")
    assert queue[0] is Part.QUEUE
    assert working == (Part.RUNNING, 1_500)
    assert queue[1] == pytest.approx(500, abs=50)


async def test_the_path_goes_through_what_ended_last_not_through_what_is_first_in_the_plan():
    recorder = Recorder()
    run = Told(recorder, "r", *DEMO[:3])
    run.ok("s1", 50, duration_s=0.01)
    recorder.wait(5)
    run.ok("s2", 2, duration_s=5)
    recorder.wait(1)
    run.ok("s3", 100, duration_s=1)
    line = await told(recorder)
    steps = [step for step, part in names(line) if part is Part.RUNNING]
    assert steps == ["s2", "s3"]
    assert {lane.step_id for lane in line.lanes if lane.is_critical} == {"s2", "s3"}
    assert line.has_ended


async def test_a_retry_is_back_off_and_a_second_attempt_on_the_path():
    recorder = Recorder()
    run = Told(recorder, "r", DEMO[0], retry=RetryPolicy(attempts=2))
    run.fail("s1", retryable=True, retry_after_s=4)
    recorder.wait(10)
    run.ok("s1", 50, 2, duration_s=1)
    line = await told(recorder)
    kinds = [part for part, _ in parts(line, "s1")]
    assert kinds == [Part.QUEUE, Part.BACKOFF, Part.QUEUE, Part.RUNNING]
    assert dict(parts(line, "s1"))[Part.BACKOFF] >= 4_000
    assert Part.BACKOFF in line.shares()
    (lane,) = line.lanes
    assert (lane.attempts, lane.outcome) == (2, "ok")


async def test_undoing_stands_on_the_lane_of_its_step_and_on_the_path():
    recorder = Recorder()
    run = Told(
        recorder, "r", *(Step(id=i, agent="flights", task="x", depends_on=d) for i, d in TWO)
    )
    run.ok("a", 1, duration_s=0.1, **UNDO)
    run.fail("b")
    recorder.wait(3)
    run.undone("a", 1)
    line = await told(recorder)
    assert [part for part, _ in parts(line, "a")][-1] is Part.UNDO_QUEUE
    assert line.shares()[Part.UNDO_QUEUE] >= 3_000
    assert names(line)[-2][0] == "a"


TWO = (("a", []), ("b", ["a"]))


async def test_waiting_for_a_yes_is_told_as_such():
    recorder = Recorder()
    ask = Step(id="ok", agent="human", approval=Approval(question="Well?"))
    run = Told(recorder, "r", ask, Step(id="s", agent="math", task="x", depends_on=["ok"]))
    recorder.wait(60)
    run.word(ApprovalGiven, step_id="ok", approved=True)
    run.ok("s", 1)
    line = await told(recorder)
    assert parts(line, "ok")[0][0] is Part.ASKING
    assert line.shares()[Part.ASKING] >= 60_000
    assert next(iter(line.shares())) is Part.ASKING


async def test_a_pause_is_held_time_on_the_path():
    recorder = Recorder()
    run = Told(recorder, "r", *(Step(id=i, agent="math", task="x", depends_on=d) for i, d in TWO))
    run.word(PauseRequested)
    run.ok("a", 1)
    recorder.wait(30)
    run.word(ResumeRequested)
    run.ok("b", 1)
    line = await told(recorder)
    assert line.shares()[Part.HELD] >= 30_000
    assert [step for step, part in names(line) if part is Part.QUEUE] == ["a", "b"]


async def test_a_run_that_goes_on_is_told_as_far_as_it_is():
    recorder = Recorder()
    Told(recorder, "r", *DEMO[:3]).ok("s2", 2)
    line = await told(recorder)
    assert not line.has_ended
    assert parts(line, "s1")[0][0] is Part.QUEUE
    assert sum(line.shares().values()) == line.length_ms


async def test_without_a_plan_there_is_nothing_to_tell():
    entries = await golden_entries("demo")
    facts = [e.received for e in entries if e.record.offset]
    assert timeline("demo", facts) is None
    assert timeline("demo", []) is None


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_log_with_its_beginning_gone_with_repeats_or_disorder_is_told_as_it_is(name):
    chance = random.Random(name)  # noqa: S311 - for tests
    for run_id, facts in (await runs_of(await golden_entries(name))).items():
        for begin in range(len(facts)):
            shuffled = facts[begin:] + facts
            chance.shuffle(shuffled)
            for odd in (facts[begin:], facts[:begin] + facts, shuffled):
                line = timeline(run_id, odd)
                if line is not None:
                    assert sum(line.shares().values()) == line.length_ms


async def test_facts_behind_the_end_make_a_run_no_longer():
    facts = [e.received for e in await golden_entries("demo")]
    end = next(f for f in facts if f.message.NAME == "run_done")
    assert facts[-1] is not end or len(facts) > 1
    assert timeline("demo", facts).end_ms == end.timestamp_ms


async def test_a_run_of_thousands_of_steps_is_laid_out_at_once():
    recorder = Recorder()
    steps = [
        Step(id=f"s{n}", agent="math", task="x", depends_on=[f"s{n - 1}"] if n else [])
        for n in range(300)
    ]
    run = Told(recorder, "r", *steps)
    for n in range(300):
        run.ok(f"s{n}", n, duration_s=0.001)
    line = await told(recorder)
    assert [s for s, p in names(line) if p is Part.RUNNING] == [f"s{n}" for n in range(300)]
