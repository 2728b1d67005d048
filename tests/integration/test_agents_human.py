"""The agent `human` in this process: forms are answered, refused, and given up by their time."""

from __future__ import annotations

import asyncio

import pytest

from starlings import LocalRun
from starlings.messages import RunDone, RunOutcome, StepProgress
from starlings_agents.human import agent, answers_in_memory

FORM = {
    "question": "How many?",
    "fields": {"amount": {"type": "integer", "minimum": 1}, "note": {"required": False}},
}
WITHIN_S = 30


def plan(**form):
    return [{"id": "ask", "agent": "human", "input": {**FORM, **form}}]


async def ended(run: LocalRun) -> RunDone:
    async with asyncio.timeout(WITHIN_S):
        return await run.run()


async def test_an_answer_becomes_the_output_of_the_step():
    with answers_in_memory() as inbox:
        run = LocalRun(plan(), [agent], skip_waits=True)
        inbox.give("local", "ask", {"amount": 3}, by="ada")
        done = await ended(run)
    assert done.outcome is RunOutcome.COMPLETED
    assert done.steps[0].output == {"answer": {"amount": 3, "note": None}, "by": "ada"}


async def test_an_answer_that_does_not_fit_is_told_and_waited_on():
    asked = []
    with answers_in_memory() as inbox:

        def see(fact) -> None:
            if not isinstance(fact, StepProgress):
                return
            asked.append(fact.progress["progress"])
            if len(asked) == 1:
                inbox.give("local", "ask", {"amount": 0})
            elif "problems" in asked[-1]:
                inbox.give("local", "ask", {"amount": 5}, by="bob")

        done = await ended(LocalRun(plan(), [agent], skip_waits=True, on_fact=see))

    assert asked[0]["asks"] == "How many?"
    assert asked[0]["fields"] == {"amount": "integer", "note": "string"}
    assert asked[1]["problems"] == ["amount: it has to be 1 or more"]
    assert done.steps[0].output["answer"]["amount"] == 5


async def test_of_two_answers_the_first_that_fits_counts():
    with answers_in_memory() as inbox:
        for amount in (-1, 4, 7):
            inbox.give("local", "ask", {"amount": amount})
        done = await ended(LocalRun(plan(), [agent], skip_waits=True))
    assert done.steps[0].output["answer"]["amount"] == 4


@pytest.mark.parametrize("default", [{"amount": 1}, None])
async def test_where_nobody_answers_in_time_the_default_counts(default):
    with answers_in_memory():
        form = {"timeout_s": 0.2} | ({"default": default} if default else {})
        done = await ended(LocalRun(plan(**form), [agent], skip_waits=True))
    if default:
        assert done.steps[0].output == {"answer": {"amount": 1, "note": None}, "by": "default"}
    else:
        assert done.steps[0].error.code == "unanswered"


async def test_a_form_that_waits_longer_than_its_step_is_refused_at_once():
    with answers_in_memory():
        done = await ended(LocalRun(plan(timeout_s=86_400), [agent], skip_waits=True))
    assert done.steps[0].error.code == "input_invalid"
    assert "timeouts: {run_s: …}" in done.steps[0].error.message


async def test_a_form_that_cannot_be_is_refused_with_its_reason():
    with answers_in_memory():
        done = await ended(LocalRun(plan(fields={"a": {"type": "file"}}), [agent]))
    assert done.steps[0].error.code == "input_invalid"
