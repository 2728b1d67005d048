"""A run in this process goes on after a bad end, as one on Kafka does."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from starlings import Agent, LocalRun, StepFailed
from starlings.messages import (
    CommandRefused,
    CompensationDone,
    FailurePolicy,
    RetryPolicy,
    RunOptions,
    RunOutcome,
    StepDone,
)

STOP = RunOptions(on_failure=FailurePolicy.STOP)
PLAN = [
    {"id": "a", "agent": "desk", "input": {"room": "small"}},
    {"id": "b", "agent": "desk", "input": {"room": "full"}, "depends_on": ["a"]},
]


class Wish(BaseModel):
    """What is asked for, and what was booked."""

    room: str


class Desk:
    """Books every room that is not full; gives back what `open` says."""

    def __init__(self) -> None:
        self.booked: list[str] = []
        self.open = True
        self.agent = Agent("desk", description="Books rooms")
        self.agent.step(self.book)
        self.agent.compensate(self.give_back)

    async def book(self, wish: Wish) -> Wish:
        if wish.room == "full":
            raise StepFailed("no room", code="full")
        self.booked.append(wish.room)
        return wish

    async def give_back(self, booking: Wish) -> None:
        if not self.open:
            raise StepFailed("nobody is at the desk", code="closed")
        self.booked.remove(booking.room)


@pytest.fixture
def desk():
    return Desk()


async def test_a_failed_run_goes_on_with_another_input_and_repeats_nothing(desk):
    run = LocalRun(PLAN, [desk.agent], options=STOP)
    assert (await run).outcome is RunOutcome.FAILED
    with pytest.raises(CommandRefused, match="the plan has no step 'z'"):
        await run.retry("z")

    done = await run.retry("b", input={"room": "large"})

    assert (done.outcome, done.output, done.generation) == (
        RunOutcome.COMPLETED,
        {"room": "large"},
        1,
    )
    assert desk.booked == ["small", "large"]
    tried = [(f.step_id, f.attempt) for f in run.facts if isinstance(f, StepDone)]
    assert tried == [("a", 1), ("b", 1), ("b", 2)]
    with pytest.raises(CommandRefused, match="no step that is not done"):
        await run.retry()


async def test_a_retry_that_fails_again_can_be_tried_once_more(desk):
    run = LocalRun(PLAN, [desk.agent], options=STOP)
    await run
    assert (await run.retry()).outcome is RunOutcome.FAILED
    assert (await run.retry("b", input={"room": "large"})).generation == 2


async def test_what_could_not_be_undone_is_undone_again_when_asked_for(desk):
    desk.open = False
    once = {"agent": "desk", "retry": RetryPolicy(attempts=1).model_dump()}
    run = LocalRun([PLAN[0] | {"compensate": once}, PLAN[1]], [desk.agent], skip_waits=True)
    assert (await run).outcome is RunOutcome.COMPENSATION_FAILED
    assert desk.booked == ["small"]

    desk.open = True
    done = await run.retry(compensation=True)

    assert (done.outcome, desk.booked) == (RunOutcome.COMPENSATED, [])
    assert [f.number for f in run.facts if isinstance(f, CompensationDone)] == [1, 2]


async def test_a_run_is_not_retried_before_its_end_nor_with_an_input_for_nobody(desk):
    run = LocalRun(PLAN, [desk.agent], options=STOP)
    with pytest.raises(CommandRefused, match="has not ended"):
        await run.retry()
    await run
    with pytest.raises(CommandRefused, match="an input needs the step"):
        await run.retry(input={"room": "large"})
