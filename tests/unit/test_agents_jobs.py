"""Steps that are jobs of another system, driven in this process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel
from support.agents import ready
from support.waiting import wait_until

from starlings import (
    Compensation,
    JobAgent,
    JobStatus,
    StepContext,
    StepFailed,
    TransientError,
)
from starlings.agents.execute import execute
from starlings.messages import ConfigError, RunOutcome, StepDone, StepOutcome
from starlings.testing import LocalRun


class Render(BaseModel):
    """A handle."""

    id: str
    note: str = ""


class Farm:
    """A system that runs jobs, told what to answer; and the agent for it."""

    def __init__(self, *answers: Any, **settings: Any) -> None:
        self.answers = list(answers)
        self.created: list[str] = []
        self.asked: list[str] = []
        self.deleted: list[str] = []
        self.on_delete: list[Exception] = []
        self.note = ""
        defaults = {"first_poll_s": 0.001, "longest_poll_s": 0.002}
        self.agent = JobAgent[Render]("farm", description="Renders", **{**defaults, **settings})
        self.agent.create(self.create)
        self.agent.get(self.get)
        self.agent.delete(self.delete)

    async def create(self, film: str, ctx: StepContext) -> Render:
        self.created.append(ctx.idempotency_key)
        return Render(id=f"job of {film}", note=self.note)

    async def get(self, job: Render, ctx: StepContext) -> JobStatus:
        assert ctx.idempotency_key == "r1/s1/1"
        self.asked.append(job.id)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if answer == "hang":
            await asyncio.Event().wait()
        return answer

    async def delete(self, job: Render) -> None:
        self.deleted.append(job.id)
        if self.on_delete:
            raise self.on_delete.pop(0)

    async def run(self, **more: Any) -> StepDone:
        given = {"agent": "farm", "task": "Ran", **more}
        done = await execute(self.agent, ready(**given), pause=hardly)
        assert StepDone.model_validate_json(done.model_dump_json()) == done
        return done


async def hardly(_seconds: float) -> None:
    await asyncio.sleep(0)


RUNNING = JobStatus.running()
GOOD = JobStatus.succeeded({"frames": 9}, summary="nine frames")


async def test_a_job_is_submitted_once_and_looked_at_until_it_ends():
    farm = Farm(RUNNING, RUNNING, GOOD)

    done = await farm.run()

    assert (done.outcome, done.output, done.summary) == (
        StepOutcome.OK, {"frames": 9}, "nine frames",
    )  # fmt: skip
    assert farm.created == ["r1/s1/1"]
    assert farm.asked == ["job of Ran"] * 3
    assert farm.deleted == []


@pytest.mark.parametrize(
    ("status", "code", "retryable", "words"),
    [
        (JobStatus.failed("no ink"), "job_failed", False, "no ink"),
        (JobStatus.failed("no ink", retryable=True), "job_failed", True, "no ink"),
        (JobStatus.failed(TransientError("full", code="full")), "full", True, "full"),
        (JobStatus("failed"), "job_failed", False, "the job failed"),
        (JobStatus.cancelled("Ann"), "job_cancelled", False, "by somebody else: Ann"),
    ],
)
async def test_a_job_that_ends_badly_is_the_steps_error(status, code, retryable, words):
    farm = Farm(status)

    error = (await farm.run()).error

    assert (error.code, error.retryable) == (code, retryable)
    assert words in error.message
    assert farm.deleted == []  # it has ended by itself


async def test_get_that_raises_hangs_and_flaps_is_asked_again_until_it_tells_an_end():
    farm = Farm(
        TransientError("503", retry_after_s=0),
        RuntimeError("a bug"),
        "hang",
        JobStatus("pending"),
        RUNNING,
        JobStatus("pending"),
        "no status",
        GOOD,
        JobStatus.failed("after its end"),  # a terminal phase is final once seen
        get_timeout_s=0.05,
    )

    done = await farm.run()

    assert done.outcome is StepOutcome.OK
    assert len(farm.asked) == 8
    assert farm.created == ["r1/s1/1"]


async def test_what_get_calls_hopeless_fails_the_step_and_deletes_the_job():
    farm = Farm(StepFailed("there is no such job", code="gone"))

    error = (await farm.run()).error

    assert (error.code, error.retryable) == ("gone", False)
    assert farm.deleted == ["job of Ran"]


async def test_a_job_that_cannot_be_seen_for_too_long_is_given_up_and_deleted():
    farm = Farm(OSError("no route"), lost_after_s=0.05)

    error = (await farm.run()).error

    assert (error.code, error.retryable) == ("job_lost", True)
    assert "no route" in error.message
    assert "lost_after_s" in error.message
    assert farm.deleted == ["job of Ran"]


async def test_a_handle_of_two_megabytes_is_refused_and_its_job_deleted():
    farm = Farm(GOOD)
    farm.note = "x" * 2_000_000

    error = (await farm.run()).error

    assert error.code == "handle_too_large"
    assert "65,536" in error.message
    assert farm.deleted == ["job of Ran"]
    assert farm.asked == []


@pytest.mark.parametrize(
    ("returned", "code"), [(object(), "output_not_json"), (float("nan"), "output_not_json")]
)
async def test_create_that_returns_no_json_fails_and_the_job_is_deleted(returned, code):
    agent: JobAgent[Any] = JobAgent("odd", description="Odd")
    deleted = []

    @agent.create
    async def create(task: str) -> Any:
        return returned

    @agent.get
    async def get(job: Any) -> JobStatus:
        return GOOD

    @agent.delete
    async def delete(job: Any) -> None:
        deleted.append(job)

    done = await execute(agent, ready(agent="odd"))

    assert done.error.code == code
    assert "the handle that `create` of agent 'odd' returned" in done.error.message
    assert deleted == [returned]


async def test_create_that_returns_what_it_did_not_promise_fails_and_the_job_is_deleted():
    farm = Farm(GOOD)
    agent: JobAgent[Any] = JobAgent("odd", description="Odd")
    agent.get(farm.get)
    deleted = []

    @agent.create
    async def create(task: str) -> Render:
        return "7"

    @agent.delete
    async def delete(job: Any) -> None:
        deleted.append(job)

    done = await execute(agent, ready(agent="odd"))

    assert done.error.code == "output_invalid"
    assert deleted == ["7"]


async def test_create_that_times_out_is_called_again_under_the_same_key():
    farm = Farm(GOOD)
    agent = JobAgent("farm", description="Renders", create_timeout_s=0.05)
    agent.get(farm.get)
    agent.delete(farm.delete)
    calls = []

    @agent.create
    async def create(ctx: StepContext) -> Render:
        calls.append(ctx.idempotency_key)
        if len(calls) < 3:
            await asyncio.Event().wait()
        return Render(id="found again")

    done = await execute(agent, ready(agent="farm"), pause=hardly)

    assert done.outcome is StepOutcome.OK
    assert calls == ["r1/s1/1"] * 3
    assert farm.asked == ["found again"]


async def test_create_that_fails_is_the_steps_failure():
    agent: JobAgent[Any] = JobAgent("odd", description="Odd")

    @agent.create
    async def create() -> str:
        raise TransientError("the farm is full", retry_after_s=60)

    @agent.get
    async def get(job: str) -> JobStatus:
        return GOOD

    @agent.delete
    async def delete(job: str) -> None:
        raise AssertionError("there is nothing to delete")

    error = (await execute(agent, ready(agent="odd"))).error

    assert (error.retryable, error.retry_after_s) == (True, 60)


async def test_a_cancelled_step_deletes_its_job_and_delete_is_tried_until_it_succeeds():
    farm = Farm(RUNNING)
    farm.on_delete = [OSError("no route"), TransientError("busy")]

    working = asyncio.create_task(farm.run())
    await wait_until(lambda: len(farm.asked) > 3, message="the job is looked at")
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working

    assert farm.deleted == ["job of Ran"] * 3


async def test_delete_of_a_job_that_its_author_gives_up_is_not_tried_again():
    farm = Farm(StepFailed("gone", code="gone"))
    farm.on_delete = [StepFailed("unknown job")] * 5

    assert (await farm.run()).error.code == "gone"
    assert farm.deleted == ["job of Ran"]


async def test_a_job_that_has_ended_when_the_step_is_cancelled_keeps_its_result():
    farm = Farm(RUNNING)
    working = asyncio.create_task(farm.run())
    await wait_until(lambda: farm.asked, message="the job is looked at")

    farm.answers = [GOOD]  # nobody has seen it yet
    working.cancel()
    done = await working

    assert done.outcome is StepOutcome.OK
    assert farm.deleted == []


async def test_a_job_beyond_its_steps_limit_is_deleted():
    farm = Farm(RUNNING)

    error = (await farm.run(timeouts={"run_s": 0.05})).error

    assert (error.code, error.retryable) == ("timeout", True)
    assert farm.deleted == ["job of Ran"]


async def test_changes_of_phase_and_progress_are_told_once_each():
    farm = Farm(RUNNING, RUNNING, JobStatus.running("half"), OSError("away"), RUNNING, GOOD)
    told = []

    async def heartbeat(progress):
        told.append(progress)

    await execute(farm.agent, ready(agent="farm"), pause=hardly, heartbeat=heartbeat)

    assert [said["phase"] for said in told] == ["running", "running", "unknown", "running"]
    assert told[1]["progress"] == "half"


async def test_jobs_run_within_a_plan_without_a_broker():
    farm = Farm(GOOD)
    farm.agent.get_timeout_s = 5

    run = LocalRun(
        [{"id": "s1", "agent": "farm", "task": "Ran"}], [farm.agent], run_id="r1", skip_waits=True
    )
    done = await run

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, {"frames": 9})


def test_a_job_agent_keeps_one_replica_and_says_what_it_lacks():
    with pytest.raises(ConfigError, match="cannot scale from zero"):
        JobAgent("a", description="A", scales_from_zero=True)

    agent: JobAgent[Any] = JobAgent("a", description="A")
    with pytest.raises(ConfigError, match="lacks create and get and delete"):
        agent.definition()
    with pytest.raises(ConfigError, match="register create, get and delete"):
        agent.step(lambda: None)
    with pytest.raises(ConfigError, match="no tools"):
        agent.tool(lambda: None)
    assert Farm(GOOD).agent.definition().scales_from_zero is False


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"first_poll_s": 0}, "first interval"),
        ({"polls_at_once": 0}, "1 or more"),
        ({"polls_at_once": "2"}, "whole number"),
        ({"get_timeout_s": -1}, "get_timeout_s"),
        ({"lost_after_s": "long"}, "lost_after_s"),
        ({"poll_factor": 0.1}, "0.1"),
    ],
)
def test_a_wrong_setting_is_named(wrong, words):
    with pytest.raises(ConfigError, match=words):
        JobAgent("a", description="A", **wrong)


def test_what_takes_a_handle_takes_nothing_else():
    agent: JobAgent[Any] = JobAgent("a", description="A")

    with pytest.raises(ConfigError, match="takes one parameter, the handle"):

        @agent.get
        async def get(job: str, more: int) -> JobStatus:
            return GOOD

    with pytest.raises(ConfigError, match="takes one parameter, the handle"):

        @agent.delete
        async def delete(ctx: StepContext) -> None: ...


async def test_the_result_of_a_job_records_what_would_undo_it():
    farm = Farm(GOOD)

    @farm.agent.compensate
    async def scrap(film: dict[str, int]) -> None: ...

    assert farm.agent.definition().compensates
    assert (await farm.run()).compensation == Compensation(agent="farm")

    farm.answers = [JobStatus.succeeded(undo=False)]
    assert (await farm.run()).compensation is None
    farm.answers = [JobStatus.failed("no ink")]
    assert (await farm.run()).compensation is None
