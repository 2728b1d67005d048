"""Steps that wait until something is so, driven in this process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel
from support.agents import ready

from starlings import Ready, Sensor, StepContext, StepFailed, TransientError, Waiting
from starlings.agents.execute import execute
from starlings.messages import ConfigError, StepDone, StepOutcome


class Tide(BaseModel):
    """What is waited for."""

    height_m: float = 1.0


class Beach:
    """A sensor told what to say, and what it was asked."""

    def __init__(self, *answers: Any, **settings: Any) -> None:
        self.answers = list(answers)
        self.seen: list[Any] = []
        self.sensor = Sensor("tide", description="Waits", **{"every_s": 0.001, **settings})
        self.sensor.poke(self.poke)

    async def poke(self, tide: Tide, ctx: StepContext) -> bool | Ready | Waiting:
        self.seen.append((tide.height_m, ctx.state))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if answer == "hang":
            await asyncio.Event().wait()
        return answer

    async def run(self, **more: Any) -> StepDone:
        given = {"agent": "tide", "input": {"height_m": 2}, **more}
        return await execute(self.sensor, ready(**given), pause=hardly)


async def hardly(_seconds: float) -> None:
    await asyncio.sleep(0)


async def test_a_sensor_pokes_until_it_is_so():
    beach = Beach(False, False, True)

    done = await beach.run()

    assert (done.outcome, done.output) == (StepOutcome.OK, True)
    assert beach.seen == [(2.0, None)] * 3


async def test_what_is_ready_brings_the_output():
    done = await Beach(Ready({"height_m": 2.1}, summary="high tide")).run()

    assert (done.output, done.summary) == ({"height_m": 2.1}, "high tide")


async def test_a_poke_finds_the_state_that_the_one_before_it_left():
    beach = Beach(Waiting(state={"seen": 1}), Waiting(), Waiting(state=[2]), True)

    await beach.run()

    assert [state for _, state in beach.seen] == [None, {"seen": 1}, {"seen": 1}, [2]]


async def test_a_poke_that_raises_or_hangs_is_made_again():
    beach = Beach(
        OSError("away"),
        TransientError("busy"),
        "hang",
        "high",
        Waiting(),
        True,
        poke_timeout_s=0.05,
    )

    assert (await beach.run()).outcome is StepOutcome.OK
    assert len(beach.seen) == 6


async def test_a_poke_that_calls_it_hopeless_fails_the_step():
    assert (await Beach(StepFailed("no sea here", code="dry")).run()).error.code == "dry"


async def test_a_wait_beyond_the_sensors_limit_fails_and_is_not_begun_anew():
    error = (await Beach(False, timeout_s=0.05).run()).error

    assert (error.code, error.retryable) == ("timeout", False)
    assert "timeout_s of 'tide'" in error.message


async def test_a_wrong_input_fails_at_once():
    beach = Beach(True)

    error = (await beach.run(input={"height_m": "tall"})).error

    assert error.code == "input_invalid"
    assert beach.seen == []


async def test_a_state_that_is_too_large_or_no_json_fails_the_step():
    assert (await Beach(Waiting(state="x" * 70_000)).run()).error.code == "handle_too_large"
    assert (await Beach(Waiting(state=object())).run()).error.code == "output_not_json"
    assert (await Beach(True).run(input={"x": "x" * 70_000})).error.code == "handle_too_large"


async def test_a_sensor_may_take_its_task_in_words():
    sensor = Sensor("words", description="Waits")

    @sensor.poke
    def poke(task: str) -> bool:
        return task == "wait for rain"

    assert (await execute(sensor, ready(task="wait for rain"))).output is True


def test_a_sensor_keeps_one_replica_and_says_what_it_lacks():
    with pytest.raises(ConfigError, match="cannot scale from zero"):
        Sensor("a", description="A", scales_from_zero=True)
    sensor = Sensor("a", description="A")
    with pytest.raises(ConfigError, match=r"register a @sensor\.poke"):
        sensor.definition()
    with pytest.raises(ConfigError, match=r"with @sensor\.poke"):
        sensor.step(lambda: None)
    with pytest.raises(ConfigError, match="no tools"):
        sensor.tool(lambda: None)
    with pytest.raises(ConfigError, match="timeout_s"):
        Sensor("a", description="A", timeout_s=0)
    assert Beach(True).sensor.definition().takes["title"] == "Tide"
