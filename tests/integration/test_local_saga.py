"""Sagas in this process: what was done is undone, by the agents' own compensations."""

from __future__ import annotations

import asyncio

import pytest
from support.waiting import wait_until

from starlings import (
    Agent,
    Compensation,
    JobAgent,
    JobStatus,
    LocalRun,
    Result,
    StepContext,
    StepFailed,
    TransientError,
)
from starlings.messages import (
    CancelRequested,
    CompensationAbandoned,
    CompensationDone,
    RetryPolicy,
    RunOptions,
    RunOutcome,
    StepOutcome,
    Timeouts,
)


class Trips:
    """Agents of the test's own: `book` does and undoes, `hotel` fails; and what they did."""

    def __init__(self):
        self.log = []
        self.tries = 0
        self.undo = self.cancel
        self.agent = Agent("book", description="Books and cancels")
        self.agent.step(self.book)
        self.agent.compensate(self.carry_out)
        self.hotel = Agent("hotel", description="Is full")
        self.hotel.step(self.full)

    async def book(self, task: str, ctx: StepContext) -> Result:
        self.log.append(f"{ctx.step_id} booked")
        return Result({"id": f"b-{ctx.step_id}"}, undo=task != "no undo")

    async def full(self) -> None:
        raise StepFailed("the hotel is full", code="full")

    async def carry_out(self, booking: dict, ctx: StepContext) -> str:
        self.tries += 1
        return await self.undo(booking, ctx)

    async def cancel(self, booking: dict, _ctx: StepContext) -> str:
        self.log.append(f"{booking['id']} cancelled")
        return f"{booking['id']} cancelled"

    @property
    def agents(self):
        return [self.agent, self.hotel]


@pytest.fixture
def trips():
    return Trips()


def step(name, *after, agent="book", **more):
    return {"id": name, "agent": agent, "task": "go", "depends_on": list(after), **more}


FULL = step("hotel", "flight", agent="hotel")


def of(run, model):
    return [fact for fact in run.facts if isinstance(fact, model)]


async def test_what_was_done_is_undone_in_reverse_order_when_a_step_fails(trips):
    plan = [step("flight"), step("seat", "flight"), step("hotel", "seat", agent="hotel")]
    run = LocalRun(plan, trips.agents)
    done = await run

    assert done.outcome is RunOutcome.COMPENSATED
    assert trips.log == ["flight booked", "seat booked", "b-seat cancelled", "b-flight cancelled"]
    undone = {s.step_id: [u.state for u in s.undone] for s in done.steps}
    assert undone == {"flight": ["undone"], "seat": ["undone"], "hotel": []}
    assert [f.summary for f in of(run, CompensationDone)] == [
        "b-seat cancelled",
        "b-flight cancelled",
    ]


async def test_a_step_that_says_there_is_nothing_to_undo_is_left_alone(trips):
    done = await LocalRun([step("flight", task="no undo"), FULL], trips.agents)
    assert trips.log == ["flight booked"]
    assert done.outcome is RunOutcome.FAILED


async def test_a_compensation_that_fails_for_now_is_tried_again_under_the_same_key(trips):
    keys = []

    async def busy_twice(booking, ctx):
        keys.append(ctx.idempotency_key)
        if len(keys) < 3:
            raise TransientError("the airline is busy")
        return await trips.cancel(booking, ctx)

    trips.undo = busy_twice
    done = await LocalRun([step("flight"), FULL], trips.agents, skip_waits=True)
    assert done.outcome is RunOutcome.COMPENSATED
    assert keys == ["local/flight/1/compensation"] * 3


async def test_a_compensation_that_fails_for_good_is_abandoned_and_the_rest_is_undone(trips):
    async def airborne(booking, ctx):
        if ctx.step_id == "seat":
            raise StepFailed("it has taken off", code="airborne")
        return await trips.cancel(booking, ctx)

    trips.undo = airborne
    plan = [
        step("flight"),
        step("car"),
        step("seat", "flight"),
        step("hotel", "seat", "car", agent="hotel"),
    ]
    run = LocalRun(plan, trips.agents)
    done = await run

    assert done.outcome is RunOutcome.COMPENSATION_FAILED
    assert [f.step_id for f in of(run, CompensationAbandoned)] == ["seat"]
    undone = {s.step_id: [u.state for u in s.undone] for s in done.steps}
    assert (undone["seat"], undone["car"]) == (["failed"], ["undone"])
    assert "b-flight cancelled" not in trips.log  # a seat in it is still taken


async def test_a_compensation_that_hangs_is_stopped_at_its_limit_and_abandoned_in_the_end(trips):
    async def hang(_booking, _ctx):
        await asyncio.Event().wait()

    trips.undo = hang
    undo = Compensation(
        agent="book", retry=RetryPolicy(attempts=2), timeouts=Timeouts(run_s=0.02)
    )  # fmt: skip
    plan = [step("flight", compensate=undo.model_dump(mode="json")), FULL]
    run = LocalRun(plan, trips.agents, skip_waits=True)
    done = await run

    assert done.outcome is RunOutcome.COMPENSATION_FAILED
    assert [f.error.code for f in of(run, CompensationDone)] == ["timeout", "timeout"]
    assert trips.tries == 2


@pytest.mark.parametrize(
    ("named", "code"), [("hotel", "no_compensation"), ("nobody", "unknown_agent")]
)
async def test_a_compensation_that_names_an_agent_that_cannot_is_abandoned_at_once(
    trips, named, code
):
    wrong = Agent("wrong", description="Records what cannot be")
    wrong.step(lambda: Result(1, undo=Compensation(agent=named)))
    run = LocalRun([step("flight", agent="wrong"), FULL], [wrong, *trips.agents])
    done = await run
    assert done.outcome is RunOutcome.COMPENSATION_FAILED
    assert [(f.number, f.error.code) for f in of(run, CompensationAbandoned)] == [(1, code)]


async def test_a_step_at_work_when_the_run_is_cancelled_is_stopped_and_the_done_ones_undone(trips):
    waiting = asyncio.Event()
    slow = Agent("slow", description="Waits")

    @slow.step
    async def wait() -> None:
        waiting.set()
        await asyncio.Event().wait()

    run = LocalRun([step("flight"), step("wait", "flight", agent="slow")], [*trips.agents, slow])
    running = asyncio.create_task(run.run())
    await waiting.wait()
    run.tell(CancelRequested(run_id="local", reason="changed my mind"))
    done = await asyncio.wait_for(running, 30)
    assert done.outcome is RunOutcome.CANCELLED
    assert trips.log == ["flight booked", "b-flight cancelled"]


async def test_cancelling_a_run_that_undoes_stops_no_compensation(trips):
    go_on, at_it = asyncio.Event(), asyncio.Event()

    async def slowly(booking, ctx):
        at_it.set()
        await go_on.wait()
        return await trips.cancel(booking, ctx)

    trips.undo = slowly
    run = LocalRun([step("flight"), FULL], trips.agents)
    running = asyncio.create_task(run.run())
    await at_it.wait()
    run.tell(CancelRequested(run_id="local"))
    await wait_until(lambda: of(run, CancelRequested), message="the cancel was read")
    go_on.set()
    done = await asyncio.wait_for(running, 30)
    assert [f.outcome for f in of(run, CompensationDone)] == [StepOutcome.OK]
    assert done.outcome in (RunOutcome.COMPENSATED, RunOutcome.CANCELLED)


async def test_under_the_policy_stop_nothing_is_undone(trips):
    options = RunOptions(on_failure="stop")
    done = await LocalRun([step("flight"), FULL], trips.agents, options=options)
    assert done.outcome is RunOutcome.FAILED
    assert trips.log == ["flight booked"]


async def test_a_job_is_undone_like_any_other_step(trips):
    renders = JobAgent[str]("renders", description="Renders films", first_poll_s=0.001)
    undone = []

    @renders.create
    def create(ctx: StepContext) -> str:
        return ctx.idempotency_key

    @renders.get
    def get(handle: str) -> JobStatus:
        return JobStatus("succeeded", output={"film": handle})

    @renders.delete
    def delete(handle: str) -> None: ...

    @renders.compensate
    def burn(film: dict[str, str]) -> None:
        undone.append(film)

    plan = [step("film", agent="renders"), step("hotel", "film", agent="hotel")]
    done = await LocalRun(plan, [renders, *trips.agents])
    assert done.outcome is RunOutcome.COMPENSATED
    assert undone == [{"film": "local/film/1"}]
