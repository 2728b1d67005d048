"""What cannot be read, folded or fetched: put aside with its report, while all else goes on."""

from __future__ import annotations

import functools

import pytest
from support.forks import forked
from support.waiting import wait_until

from starlings.blobs import Claim
from starlings.kafka.codec import CLAIM_HEADER
from starlings.kafka.restore_point import write_metadata
from starlings.messages import (
    Plan,
    PlanCreated,
    RetryPolicy,
    RunOutcome,
    RunSnapshot,
    StepDone,
    StepOutcome,
    StepReady,
    message_id,
    run_key,
)

from .conftest import step, work_id
from .faults import AwayStore
from .test_coordinator_recovery import commit

pytestmark = pytest.mark.kafka

LARGE = "x" * 400_000
TWICE = RetryPolicy(attempts=2, initial_s=0)


def result(run_id, output):
    return StepDone(
        run_id=run_id,
        step_id="a",
        attempt=1,
        agent="math",
        outcome=StepOutcome.OK,
        output=output,
        summary="large",
    )


async def small_run(stage, run_id):
    await stage.plan(run_id, step("a"))
    await stage.play(run_id, "a")
    return await stage.end(run_id)


def gone(stage):
    for path in stage.folder.joinpath("blobs").rglob("*"):
        if path.is_file():
            path.unlink()


async def test_what_cannot_be_decoded_is_put_aside_untouched_and_the_partition_goes_on(stage):
    actor = await (await stage.start()).ready()
    headers = [("ce_type", b"starlings.step_done.v1"), ("mine", b"\xff")]
    at = await stage.tell_raw(b"\xff no text", key=b"k", headers=headers)
    await stage.tell_raw(b"no json")
    await stage.tell_raw(None, key=b"tombstone")
    await stage.tell_raw(b"[" * 100_000, headers=[("ce_type", b"starlings.plan_created.v1")])
    await small_run(stage, "r")
    letters = await stage.dead(4)
    first = letters[0]
    assert (first.record.value, first.headers["mine"]) == (b"\xff no text", b"\xff")
    assert first.headers["starlings_origin"] == f"{stage.topics.events}/0/{at}".encode()
    assert first.headers["starlings_error_code"] == b"not_utf8"
    assert actor.coordinator.counters.undecodable == 4


@pytest.mark.parametrize(
    ("kind", "subject", "ident"),
    [
        ("compensation_scheduled", b"r", b"6f3c"),
        ("compensation_abandoned", b"r", b"6f3c"),
        ("run_done", b"r", b"r/run_done/" + b"9" * 5_000),
        ("plan_created", b"no run is called so", b"x"),
    ],
)
async def test_no_header_stops_the_coordinator(stage, kind, subject, ident):
    actor = await (await stage.start()).ready()
    headers = [("ce_type", f"starlings.{kind}.v1".encode()), ("ce_subject", subject)]
    await stage.tell_raw(b"no json", headers=[*headers, ("ce_id", ident)])
    await small_run(stage, "after")
    assert actor.coordinator.rebuilt == 0


async def test_a_restart_puts_nothing_aside_a_second_time(stage):
    first = await (await stage.start()).ready()
    await stage.tell_raw(b"no json")
    await small_run(stage, "before")
    await first.leave()
    second = await (await stage.start()).ready()
    await small_run(stage, "after")
    assert second.coordinator.partitions.popitem()[1].start == 0, "it was read again"
    assert len(await stage.dead()) == 1


async def test_a_crash_before_the_burial_leaves_it_to_the_successor(stage):
    first = await (await stage.start()).ready()
    await first.crash()
    await stage.tell_raw(b"no json")
    await (await stage.start()).ready()
    await stage.dead()


async def test_a_run_on_which_the_fold_breaks_is_parked_with_its_report(stage):
    """A snapshot of a later version cannot be loaded; its run waits for better code."""
    await stage.tell_raw(b'{"type": "unheard_of"}')
    later = RunSnapshot(run_id="bad", as_of=1, plan_offset=0, state={"version": 99})
    await stage.tell(later, "snapshot")
    await stage.tell(later, "snapshot again")
    await commit(stage, 1, write_metadata(1))
    actor = await (await stage.start()).ready()
    await stage.done("bad", "a")
    await small_run(stage, "good")
    [letter] = await stage.dead()
    assert letter.headers["starlings_error_code"] == b"invariant_broken"
    assert b"run the version that wrote it" in letter.headers["starlings_error_message"]
    [partition] = actor.coordinator.partitions.values()
    assert set(partition.ledger.parked) == {"bad"}
    assert actor.coordinator.counters.parked == 1


async def test_a_decision_that_cannot_be_built_parks_its_run_only(stage, monkeypatch):
    def build(run, decision):
        if run.run_id == "bad":
            raise KeyError("a bug")
        return original(run, decision)

    from starlings_coordinator import outbox  # noqa: PLC0415

    original = outbox.message_for
    monkeypatch.setattr(outbox, "message_for", build)
    actor = await (await stage.start()).ready()
    await stage.plan("bad", step("a"))
    await small_run(stage, "good")
    [partition] = actor.coordinator.partitions.values()
    assert set(partition.ledger.parked) == {"bad"}
    await wait_until(lambda: not partition._traces, timeout_s=30, message="its trace is forgotten")


async def test_an_agent_without_a_topic_fails_its_step_and_not_the_others(stage):
    await (await stage.start()).ready()
    await stage.plan("r", step("a"), step("b", agent="nobody"), on_failure="continue")
    await stage.play("r", "a")
    end = await stage.end("r")
    assert end.outcome is RunOutcome.PARTIAL
    error = end.steps[1].error
    assert error.code == "unknown_agent"
    assert stage.topics.steps("nobody") in error.message


async def test_an_agent_whose_topic_has_just_come_gets_its_work(stage):
    await (await stage.start()).ready()
    await stage.plan("r", step("a", agent="nobody"))
    assert (await stage.end("r")).error.code == "unknown_agent"
    await stage.add_agent("late")
    await stage.plan("s", step("a", agent="late"))
    await stage.work("s", "a")


async def test_a_plan_of_5000_steps_travels_by_claim_check(stage):
    await (await stage.start()).ready()
    steps = [step(f"s{n}", *([f"s{n - 1}"] if n else []), task="x" * 60) for n in range(5_000)]
    await stage.plan("r", *steps)
    [planned] = await stage.see(lambda: stage.all(PlanCreated, "r"), "the plan")
    assert planned.headers[CLAIM_HEADER] == b"1"
    await stage.play("r", "s0", "s1", "s2")
    await stage.work("r", "s3")


@pytest.mark.parametrize(
    "beginning",
    [
        PlanCreated(run_id="r", request=LARGE, plan=Plan(steps=[step("a")])),
        forked(step("a"), step("b", "a"), inherited={"a": LARGE}),
    ],
    ids=["a plan", "a fork"],
)
async def test_a_plan_whose_blob_is_gone_rejects_its_run(stage, beginning):
    where = await stage.publisher.codec.encode(
        beginning,
        id=message_id("r", beginning.NAME),
        subject="r",
    )
    gone(stage)
    await stage.tell_raw(where[0], key=run_key("r"), headers=where[1])
    await (await stage.start()).ready()
    end = await stage.end("r")
    assert (end.outcome, end.problems[0].code) == (RunOutcome.REJECTED, "blob_gone")
    [letter] = await stage.dead()
    assert letter.headers["starlings_error_code"] == b"blob_gone"
    assert Claim.model_validate_json(letter.record.value).size_bytes > len(LARGE)


async def test_a_result_whose_blob_is_gone_is_asked_for_again(stage):
    await (await stage.start()).ready()
    await stage.plan("r", step("a", retry=TWICE), step("b", "a"))
    await stage.work("r", "a")
    ident = "r/a/1/step_done"
    value, headers = await stage.publisher.codec.encode(result("r", LARGE), id=ident, subject="r")
    gone(stage)
    await stage.tell_raw(value, key=run_key("r"), headers=headers)
    await stage.work("r", "a", attempt=2)
    await stage.done("r", "a", "small", attempt=2)
    await stage.play("r", "b")
    assert (await stage.end("r")).outcome is RunOutcome.COMPLETED
    assert len(await stage.dead()) == 1


async def test_a_blob_store_that_is_away_for_a_while_holds_up_only_its_own_partition(open_stage):
    stage = await open_stage(2)
    store = AwayStore(stage.blobs.url)
    actor = await (await stage.start(blobs=store)).ready(2)
    runs = await stage.runs_in_each_partition()
    await stage.plan(runs[0], step("a"), step("b", "a"))
    await stage.work(runs[0], "a")
    await stage.tell(result(runs[0], LARGE), f"{runs[0]}/a/1/step_done")
    await stage.see(lambda: store.tried > 1, "fetched in vain, again and again")
    await small_run(stage, runs[1])
    assert not actor.coordinator.counters.undecodable
    store.away = False
    work = await stage.work(runs[0], "b")
    assert work.message.context[0].output == LARGE
    assert not stage.on(stage.topics.dead_letters)


async def test_a_blob_store_that_stays_away_costs_the_fact_and_not_the_partition(stage):
    store = AwayStore(stage.blobs.url)
    await (await stage.start(blobs=store, blob_patience_s=0.5)).ready()
    await stage.plan("r", step("a", retry=RetryPolicy(attempts=1)))
    await stage.work("r", "a")
    await stage.tell(result("r", LARGE), "r/a/1/step_done")
    await small_run(stage, "other")
    end = await stage.end("r")
    assert end.steps[0].error.code == "blob_store"
    [letter] = await stage.dead()
    assert letter.headers["starlings_error_code"] == b"blob_store"


async def test_work_that_waits_for_the_blob_store_holds_up_no_other_work(stage):
    store = AwayStore(stage.blobs.url)
    store.away = False
    await (await stage.start(blobs=store)).ready()
    names = ["a", "b", "c"]
    await stage.plan("large", *(step(name) for name in names), step("d", *names))
    for name in names:  # each small enough to travel by itself, and too large together
        await stage.work("large", name)
    store.away = True
    for name in names:
        await stage.done("large", name, LARGE[:150_000])
    await stage.see(lambda: store.tried > 0, "stored in vain")
    await small_run(stage, "small")
    store.away = False
    work = await stage.work("large", "d")
    assert work.headers[CLAIM_HEADER] == b"1"


async def test_an_end_that_cannot_be_written_comes_without_its_outputs(stage):
    """Results may be nested so deeply that there is no room for the nesting of a summary."""
    await (await stage.start()).ready()
    deep = functools.reduce(lambda inner, _: [inner], range(198), "deep")
    await stage.plan("r", step("a"), step("b"))
    await stage.work("r", "a")
    await stage.tell(result("r", deep), "r/a/1/step_done")
    await stage.play("r", "b")
    end = await stage.end("r")
    assert end.outcome is RunOutcome.COMPLETED
    assert (end.error.code, end.output) == ("unencodable", None)
    assert [s.state for s in end.steps] == ["done", "done"]


async def test_work_that_cannot_be_written_fails_its_step(stage):
    await (await stage.start()).ready()
    deep = functools.reduce(lambda inner, _: [inner], range(198), "deep")
    await stage.plan("r", step("a"), step("b", "a"))
    await stage.work("r", "a")
    await stage.tell(result("r", deep), "r/a/1/step_done")
    end = await stage.end("r")
    assert end.outcome is RunOutcome.FAILED
    assert end.steps[1].error.code == "unencodable"
    assert stage.works("r") == [work_id("r", "a")]
    assert len(stage.all(StepReady, "r")) == 1
