"""Words to runs at work and to ended ones: pause, resume, retry, signal, approve, reject."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from support import stubborn
from support.asking import SLOW, facts_of, open_gate, slow
from support.pages import unwrapped
from support.waiting import wait_until

from starlings.choreography.snapshot import save
from starlings.client import CommandRefused, RunNotFound, RunView, StepNotFound
from starlings.messages import (
    CompensationAbandoned,
    FailurePolicy,
    RetryRequested,
    RunDone,
    RunOutcome,
    StepDone,
)

pytestmark = pytest.mark.kafka

EXAMPLE = Path(__file__).parents[2] / "examples" / "approval.yaml"
STUBBORN = f"{stubborn.__file__}:stubborn"
WITHIN_S = 60.0


@pytest.fixture(scope="module", autouse=True)
def started(system):
    """What all tests of this file need."""
    system.start("coordinator", "planner", SLOW, STUBBORN)


@pytest.fixture
async def client(system):
    async with system.client() as client:
        yield client


def told(name: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "agent": "stubborn", "input": more, "depends_on": list(depends_on)}


def asks(name: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    approval = {"question": "Shall it be?", **more}
    return {"id": name, "approval": approval, "depends_on": list(depends_on)}


def waits(name: str, signal: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "signal": {"name": signal, **more}}


async def when(run, condition, message: str) -> RunView:
    """Wait until a run stands so."""

    async def stands() -> RunView | None:
        with contextlib.suppress(RunNotFound):
            view = await run.view()
            return view if view.run is not None and condition(view) else None
        return None

    return await wait_until(stands, timeout_s=WITHIN_S, message=message)


def phase_is(step_id: str, phase: str):
    return lambda view: view.run.steps[step_id].phase.value == phase


async def refusal(giving) -> str:
    with pytest.raises(CommandRefused) as refused:
        await giving
    return str(refused.value)


# -- pause and resume ----------------------------------------------------------------------------


async def test_a_paused_run_releases_nothing_until_it_is_resumed(system, client):
    run = await client.submit(plan=[slow("a", gate="paused"), slow("b", "a")])
    await when(run, phase_is("a", "running"), "a runs")

    view = await run.pause("lunch", requested_by="ann")
    assert (view.status, view.run.out) == ("paused", 1)
    assert "it is paused" in (await refusal(run.pause())).replace("the run is", "it is")
    open_gate(system, "paused")
    view = await when(run, phase_is("a", "done"), "a is done")
    assert (view.status, view.run.steps["b"].phase.value) == ("paused", "ready")
    listed = {each.run_id: each.status for each in await client.runs()}
    assert listed[run.run_id] == "paused"

    await run.resume(requested_by="ann")
    assert (await run.result(timeout_s=WITHIN_S)).outcome is RunOutcome.COMPLETED
    assert "the run has ended" in await refusal(run.resume())
    assert "the run has ended" in await refusal(run.pause())


# -- retry ---------------------------------------------------------------------------------------


async def test_a_failed_run_goes_on_with_another_input_and_keeps_what_is_done(client):
    run = await client.submit(
        plan=[told("a"), told("b", "a", fails=True), told("c", "b")],
        on_failure=FailurePolicy.STOP,
    )
    assert (await run.result(timeout_s=WITHIN_S)).outcome is RunOutcome.FAILED
    assert "'a' is done" in await refusal(run.retry("a"))
    with pytest.raises(StepNotFound, match="no step 'x'; there are: a, b, c"):
        await run.retry("x")

    view = await run.retry("b", input={"fails": False}, requested_by="ann")

    assert (view.status, view.run.generation) == ("running", 1)
    done = await run.result(timeout_s=WITHIN_S)
    assert (done.outcome, done.generation) == (RunOutcome.COMPLETED, 1)
    assert [(s.step_id, s.attempts) for s in done.steps] == [("a", 1), ("b", 2), ("c", 1)]
    ends = await facts_of(client, run.run_id, RunDone)
    assert [end.generation for end in ends] == [0, 1]
    view = await run.view()
    assert (view.status, view.done) == ("completed", done)
    assert {r.run_id: r.status for r in await client.runs()}[run.run_id] == "completed"
    assert "no step that is not done" in await refusal(run.retry())


async def test_a_run_at_work_is_not_retried(system, client):
    run = await client.submit(plan=[slow("a", gate="retrying")])
    await when(run, phase_is("a", "running"), "a runs")

    assert "the run has not ended, it is running" in await refusal(run.retry("a"))

    open_gate(system, "retrying")
    await run.result(timeout_s=WITHIN_S)


async def test_two_people_retry_at_once_and_the_run_goes_on_once(client):
    run = await client.submit(plan=[told("a", fails=True)], on_failure=FailurePolicy.STOP)
    await run.result(timeout_s=WITHIN_S)

    told_twice = await asyncio.gather(
        run.retry("a", input={}), run.retry("a", input={}), return_exceptions=True
    )

    refused = [each for each in told_twice if isinstance(each, CommandRefused)]
    assert len(refused) == 1, told_twice
    await run.result(timeout_s=WITHIN_S)
    done = await facts_of(client, run.run_id, StepDone)
    assert [fact.attempt for fact in done] == [1, 2]


async def test_a_compensation_that_was_given_up_is_done_when_it_is_asked_for_again(system, client):
    run = await client.submit(plan=[told("a"), told("b", "a", fails=True)])
    done = await run.result(timeout_s=WITHIN_S)
    assert done.outcome is RunOutcome.COMPENSATION_FAILED
    assert len(await facts_of(client, run.run_id, CompensationAbandoned)) == 1
    assert "send its request again" in await refusal(run.retry("b", input={}))
    assert "no compensation was abandoned" in await refusal(run.retry("b", compensation=True))
    (system.folder / stubborn.ALLOWED).touch()

    await run.retry("a", compensation=True)

    done = await run.result(timeout_s=WITHIN_S)
    assert (done.outcome, done.generation) == (RunOutcome.COMPENSATED, 1)
    assert [undo.state for undo in done.steps[0].undone] == ["undone"]


async def test_a_retry_with_a_broken_state_is_ignored_and_the_coordinator_goes_on(client):
    run = await client.submit(plan=[told("a", fails=True)], on_failure=FailurePolicy.STOP)
    await run.result(timeout_s=WITHIN_S)
    state = save((await run.view()).run)
    contradicting = {**state, "steps": [{**state["steps"][0], "phase": "running"}]}
    for n, broken in enumerate([{}, {"version": 99}, {**state, "steps": [{}]}, contradicting]):
        fact = RetryRequested(run_id=run.run_id, generation=1, plan_offset=0, state=broken)
        await client.publish_fact(run.run_id, fact, f"{run.run_id}/hostile/{n}")

    await run.retry("a", input={})

    assert (await run.result(timeout_s=WITHIN_S)).outcome is RunOutcome.COMPLETED


# -- approvals -----------------------------------------------------------------------------------


async def test_an_approved_step_lets_the_run_go_on_and_its_comment_is_kept(client):
    run = await client.submit(plan=[told("a"), asks("ok", "a"), told("b", "ok")])
    await when(run, phase_is("ok", "asking"), "it is asked")
    assert {r.run_id: r.status for r in await client.runs()}[run.run_id] == "asking"
    assert "the step asks for no approval" in await refusal(run.approve("a"))
    with pytest.raises(StepNotFound, match="there are: a, ok, b"):
        await run.approve("no")

    await run.approve("ok", "looks good", given_by="ann")

    done = await run.result(timeout_s=WITHIN_S)
    assert done.outcome is RunOutcome.COMPLETED
    assert done.steps[1].output == {"approved": True, "comment": "looks good", "by": "ann"}
    said = await refusal(run.reject("ok"))
    assert "has been approved by ann already: looks good" in said


async def test_a_rejected_step_fails_and_nothing_after_it_is_done(client):
    run = await client.submit(plan=[asks("ok"), told("b", "ok")])
    await when(run, phase_is("ok", "asking"), "it is asked")

    await run.reject("ok", "too dear", given_by="bob")

    done = await run.result(timeout_s=WITHIN_S)
    assert (done.outcome, done.error.message) == (
        RunOutcome.FAILED,
        "step 'ok' failed: rejected by bob: too dear",
    )
    assert done.steps[1].state == "cancelled"


async def test_where_nobody_answers_the_default_counts_when_the_time_is_up(client):
    yes = await client.submit(plan=[asks("ok", timeout_s=0.3, default="approve")])
    no = await client.submit(plan=[asks("ok", timeout_s=0.3)])

    assert (await yes.result(timeout_s=WITHIN_S)).outcome is RunOutcome.COMPLETED
    done = await no.result(timeout_s=WITHIN_S)
    assert done.steps[0].error.code == "approval_timeout"
    assert (await yes.view()).run.steps["ok"].output["approved"] is True


async def test_of_two_people_who_answer_at_once_the_first_in_the_log_counts(system, client):
    run = await client.submit(plan=[asks("ok"), slow("b", "ok", gate="two")])
    await when(run, phase_is("ok", "asking"), "it is asked")
    async with system.client() as other:
        answers = await asyncio.gather(
            run.approve("ok", given_by="ann"),
            other.run(run.run_id).reject("ok", given_by="bob"),
            return_exceptions=True,
        )

    refused = [str(each) for each in answers if isinstance(each, CommandRefused)]
    assert len(refused) == 1, answers
    open_gate(system, "two")
    done = await run.result(timeout_s=WITHIN_S)
    approved = done.steps[0].state == "done"
    assert ("approved by ann already" if approved else "rejected by bob already") in refused[0]


# -- signals -------------------------------------------------------------------------------------


async def test_a_signal_ends_the_step_that_waits_for_it_with_its_payload(client):
    run = await client.submit(plan=[waits("paid", "payment")])
    await when(run, phase_is("paid", "asking"), "it waits")

    await run.signal("payment", {"amount": 7}, sent_by="bank")

    done = await run.result(timeout_s=WITHIN_S)
    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, {"amount": 7})
    assert "the run has ended" in await refusal(run.signal("payment"))


async def test_a_signal_that_comes_too_early_is_kept_for_its_step(system, client):
    paid = {**waits("paid", "payment"), "depends_on": ["a"]}
    run = await client.submit(plan=[slow("a", gate="early"), paid])
    await when(run, phase_is("a", "running"), "a runs")

    view = await run.signal("payment", 7)

    assert view.run.signals == {"payment": [7]}
    open_gate(system, "early")
    assert (await run.result(timeout_s=WITHIN_S)).output == 7


async def test_words_to_a_run_that_nobody_knows_are_refused(client):
    for giving in (client.run("nobody").pause(), client.run("nobody").approve("x")):
        with pytest.raises(RunNotFound):
            await giving


# -- cancelling ----------------------------------------------------------------------------------


async def test_cancelling_reaches_running_steps_within_a_second(system, client):
    took = []
    for _ in range(5):
        run = await client.submit(plan=[slow("a", gate="never")])
        await when(run, phase_is("a", "running"), "a runs")
        watching = asyncio.create_task(run.result(timeout_s=WITHIN_S))
        began = time.monotonic()
        await run.cancel("enough")
        done = await watching
        took.append(time.monotonic() - began)
        assert (done.outcome, done.steps[0].state) == (RunOutcome.CANCELLED, "cancelled")
    assert sorted(took)[2] < 1.0, took


# -- the command line ----------------------------------------------------------------------------


async def test_the_command_line_speaks_to_runs_and_says_what_came_of_it(system, client, starlings):
    run = await client.submit(plan=[asks("ok", timeout_s=3600), waits("paid", "payment")])
    await when(run, phase_is("ok", "asking"), "it is asked")
    name = run.run_id

    shown = unwrapped((await starlings("show", name)).stdout)
    assert "asks: Shall it be? (rejected where nobody answers within " in shown
    assert f"starlings approve|reject {name} ok" in shown
    assert f"starlings signal {name} payment" in shown
    listed = await starlings("runs", "--status", "asking", "--json")
    assert name in [each["run_id"] for each in json.loads(listed.stdout)]
    paused = await starlings("pause", name, "--reason", "lunch")
    assert (paused.code, paused.stdout) == (
        0,
        f"run {name} is paused; `starlings resume {name}` lets it go on\n",
    )
    assert (await starlings("resume", name)).code == 0
    resumed = await starlings("resume", name)
    assert (resumed.code, resumed.stdout) == (7, "")
    assert "the run is not paused" in resumed.stderr
    assert (await starlings("approve", name, "nothing")).code == 2
    assert (await starlings("approve", name, "ok", "--comment", "fine")).code == 0
    again = await starlings("reject", name, "ok")
    assert again.code == 7
    assert "has been approved by" in again.stderr
    assert (await starlings("signal", name, "payment", "--payload", "{")).code == 2
    assert (await starlings("signal", name, "payment", "--payload", '"7"')).code == 0
    watched = await starlings("watch", name)
    assert watched.code == 0
    assert "paused by" in watched.stdout
    assert ": fine" in watched.stdout
    assert (await starlings("retry", name)).code == 7
    assert (await starlings("retry", "nobody")).code == 2


async def test_the_example_with_an_approval_does_what_its_page_says(system, client, starlings):
    system.start("math", "string")
    asked = await starlings("run", "--no-wait", "--plan", str(EXAMPLE))
    run = client.run(asked.stdout.strip())
    await when(run, phase_is("ok", "asking"), "it is asked")

    said = await starlings("approve", run.run_id, "ok", "--comment", "looks right")

    assert said.code == 0, said.stderr
    done = await run.result(timeout_s=WITHIN_S)
    assert done.output == "36 APPLES ARE ORDERED: LOOKS RIGHT"


async def test_who_decided_is_said_on_the_command_line_and_shown(system, client, starlings):
    run = await client.submit(plan=[asks("ok"), slow("b", "ok", gate="by")])
    await when(run, phase_is("ok", "asking"), "it is asked")

    said = await starlings("approve", run.run_id, "ok", "--by", "Ann of accounting")
    assert "step 'ok' is approved by Ann of accounting" in unwrapped(said.stdout)
    second = await starlings("reject", run.run_id, "ok", "--by", "Bob")
    assert second.code == 7
    assert "has been approved by Ann of accounting already" in unwrapped(second.stderr)

    open_gate(system, "by")
    await run.result(timeout_s=WITHIN_S)
    shown = await starlings("show", run.run_id)
    assert "approved by Ann of accounting" in unwrapped(shown.stdout)
