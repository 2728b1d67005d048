"""Tools and steps that misbehave: the run ends, and its text names what is wrong with what."""

from __future__ import annotations

import pytest
from support.asking import AWKWARD, call, facts_of, slow

from starlings.messages import FailurePolicy, RunOutcome, StepDone
from starlings.messages.plan import RetryPolicy, Timeouts

pytestmark = pytest.mark.kafka

QUICKLY = RetryPolicy(attempts=3, initial_s=0.01, factor=1).model_dump()
FIVE = 5_000_000


@pytest.fixture(scope="module", autouse=True)
def started(system):
    """What all tests of this file need."""
    system.start("coordinator", "planner", AWKWARD)


async def run(system, *steps, **more):
    """Run steps to their end; return the end, and the attempts that were made."""
    async with system.client() as client:
        asked = await client.submit(plan=list(steps), **more)
        done = await asked.result(timeout_s=60)
        return done, await facts_of(client, asked.run_id, StepDone)


@pytest.mark.parametrize(
    ("tool", "args", "code", "attempts", "words"),
    [
        ("raises", {"text": "x"}, "tool_failed", 3, "tool 'raises' failed: LookupError: no shelf"),
        ("refuses", {"text": "tea"}, "sold_out", 1, "tea is sold out"),
        ("wrong_type", {}, "output_invalid", 1, "wrong_type"),
        ("unserialisable", {}, "output_not_json", 1, "is not JSON-serialisable"),
        ("not_a_number", {}, "output_not_json", 1, "output.rows[1] is nan"),
        ("raises", {"text": [1]}, "arguments_invalid", 1, "'text': Input should be a valid string"),
    ],
)
async def test_a_tool_that_fails_fails_its_step_with_the_reason(
    system, tool, args, code, attempts, words
):
    step = {**call("odd", tool, **args), "retry": QUICKLY}

    done, tries = await run(system, step)

    assert done.outcome is RunOutcome.FAILED
    (summary,) = done.steps
    assert summary.error.code == code, summary
    assert words in summary.error.message, summary
    assert done.text.startswith(f"odd: ERROR - {summary.error.message[:20]}")
    assert len(tries) == summary.attempts == attempts  # only what may pass is tried again


async def test_a_tool_that_needs_a_third_try_gets_it(system):
    done, tries = await run(system, {**call("odd", "comes_round"), "retry": QUICKLY})

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, 3)
    assert [attempt.outcome.value for attempt in tries] == ["error", "error", "ok"]


@pytest.mark.parametrize("tool", ["hangs", "blocks"])
async def test_a_tool_that_hangs_is_stopped_by_the_steps_run_timeout(system, tool):
    limits = Timeouts(run_s=0.5).model_dump()
    once = RetryPolicy(attempts=1).model_dump()

    done, _ = await run(system, {**call("odd", tool), "timeouts": limits, "retry": once})

    assert done.outcome is RunOutcome.FAILED
    error = done.steps[0].error
    assert error.code in {"timeout", "run_timeout"}  # the agent's word, or the coordinator's
    assert "0.5 s (timeouts.run_s)" in error.message, error
    assert (await run(system, call("odd", "fine")))[0].output == "fine"  # it takes other work


async def test_dependents_of_a_failure_run_and_are_told_where_the_policy_says_continue(system):
    failing = {**call("odd", "refuses", text="tea"), "id": "a"}

    done, _ = await run(system, failing, slow("b", "a"), on_failure=FailurePolicy.CONTINUE)

    assert done.outcome is RunOutcome.PARTIAL
    assert done.text == "odd: ERROR - tool 'refuses' failed: tea is sold out | slow: b"


async def test_5_mb_arrive_whole_at_who_depends_on_them_and_at_who_asked(system):
    large = {**call("bulky", "large", megabytes=5), "id": "a"}
    text = "{{steps.a.output}}"
    measure = {**call("bulky", "measure", text=text), "id": "b", "depends_on": ["a"]}

    done, (first, second) = await run(system, large, measure)

    assert done.outcome is RunOutcome.COMPLETED, done.error
    assert second.output == done.output == FIVE
    assert first.output == "abcdefghij" * (FIVE // 10)
    assert done.steps[0].output == first.output
    assert len(first.summary) < 1_000
    assert len(done.text) < 1_000


async def test_too_much_is_refused_with_the_limit(system):
    done, _ = await run(system, call("bulky", "large", megabytes=70))

    assert done.outcome is RunOutcome.FAILED
    assert done.steps[0].error.code == "output_too_large"
    assert "the limit is 67,108,864; store it elsewhere" in done.steps[0].error.message


async def test_an_agent_with_a_blocked_thread_still_stops_cleanly(system):
    limits = Timeouts(run_s=0.2).model_dump()
    once = RetryPolicy(attempts=1).model_dump()
    await run(system, {**call("odd", "blocks"), "timeouts": limits, "retry": once})

    assert system.stop(AWKWARD) == 0
    system.start(AWKWARD)
