"""What a step hands back: JSON of the promised type, as its readers will see it."""

from __future__ import annotations

import dataclasses
import math
import re
import threading
import uuid
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel
from support.agents import failure, run

from starlings import Result
from starlings.messages import StepDone, StepOutcome, Usage


class Booking(BaseModel):
    id: int


class Loop(BaseModel):
    inner: Loop | None = None


@dataclasses.dataclass
class Point:
    x: float


class Color(Enum):
    RED = "red"


async def test_a_step_may_write_its_own_summary_and_tell_its_usage():
    def work() -> Result:
        usage = Usage(model="m", calls=1, input_tokens=5)
        return Result(output=[1, 2], summary="two \ud800numbers" + "!" * 400, usage=usage)

    done = await run(work)
    assert done.output == [1, 2]
    assert done.summary.startswith("two ?numbers!")
    assert len(done.summary) == 300
    assert done.usage.input_tokens == 5


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (math.factorial(25), 15511210043330985984000000),
        pytest.param(10**4299, 10**4299, id="4,300 digits"),
        (Booking(id=1), {"id": 1}),
        (Point(1.5), {"x": 1.5}),
        (Color.RED, "red"),
        (Decimal("1.50"), "1.50"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ((1, (2,)), [1, [2]]),
        ({1: "one"}, {"1": "one"}),
        ("é\x00", "é\x00"),
        (None, None),
        (-0.0, -0.0),
    ],
)
async def test_outputs_arrive_as_json(value, arrives):
    def give():
        return value

    done = await run(give)
    assert done.outcome is StepOutcome.OK
    assert StepDone.model_validate_json(done.model_dump_json()).output == arrives
    assert done.output == arrives


@pytest.mark.parametrize("as_tool", [False, True])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (math.nan, "output is nan"),
        ({"a": [1, math.inf]}, r"output\.a\[1\] is inf"),
        (Point(math.nan), r"output\.x is nan"),
        (object(), "type: <class 'object'>"),
        ([threading.Lock()], "unknown type"),
        (b"\xff", "utf-8"),
        ("\ud800", "surrogates"),
        pytest.param(10**4300, "more than 4,300 digits", id="4,301 digits"),
        (int, "unknown type"),
    ],
)
async def test_outputs_that_json_cannot_carry_are_errors(value, words, as_tool):
    def give():
        return value

    error = await failure(give, as_tool=as_tool)
    assert error.code == "output_not_json"
    assert not error.retryable
    assert re.search(words, error.message), error.message
    assert "return numbers, text, lists" in error.message


async def test_outputs_that_are_circular_or_too_deep_are_errors():
    def circle() -> list[Any]:
        outer: list[Any] = []
        outer.append(outer)
        return outer

    def deep() -> Any:
        value: Any = 1
        for _ in range(190):
            value = [value]
        return value

    assert (await failure(circle)).code == "output_not_json"
    assert "nested more than 180 levels" in (await failure(deep)).message


async def test_an_output_of_5_mb_is_fine_and_one_beyond_the_limit_is_not(monkeypatch):
    def large() -> str:
        return "x" * 5_000_000

    done = await run(large)
    assert len(done.output) == 5_000_000
    assert len(done.summary) == 300
    monkeypatch.setattr("starlings.agents.values.OUTPUT_LIMIT_BYTES", 1_000_000)
    error = await failure(large)
    assert error.code == "output_too_large"
    assert "5,000,002 bytes" in error.message


async def test_the_record_of_calls_does_not_repeat_large_values():
    def large(text: str) -> str:
        return text * 2

    done = await run(large, as_tool=True, args={"text": "y" * 10_000})
    (call,) = done.calls
    assert len(done.output) == 20_000
    assert len(call.output) == len(call.args["text"]) == 300


def wrong_number() -> int:
    return "five"


def wrong_model() -> Booking:
    return {"id": "first"}


def wrong_nothing() -> None:
    return 5


def wrong_in_result() -> int:
    return Result(output="five")


def wrong_inside() -> list[int]:
    return [1, "2"]


@pytest.mark.parametrize("as_tool", [False, True])
@pytest.mark.parametrize(
    ("function", "words"),
    [
        (wrong_number, "returned str where its annotation says int"),
        (wrong_model, "returned dict where its annotation says Booking: id:"),
        (wrong_nothing, "returned int where its annotation says None"),
        (wrong_in_result, "returned str where its annotation says int"),
        (wrong_inside, r"returned list where its annotation says list[int]: 1:"),
    ],
)
async def test_a_function_that_returns_the_wrong_type_fails_the_step(function, words, as_tool):
    error = await failure(function, as_tool=as_tool)
    assert error.code == "output_invalid"
    assert words in error.message
    assert function.__name__ in error.message or "'t'" in error.message


async def test_what_fits_an_annotation_passes():
    def either() -> int | Result:
        return Result(output="five")

    def nested() -> Loop | None:
        return Loop(inner=Loop())

    def fitting() -> Booking:
        return {"id": 1}  # has the shape, and that is what travels

    assert (await run(either)).output == "five"
    assert (await run(nested)).output == {"inner": {"inner": None}}
    assert (await run(fitting)).output == {"id": 1}


async def test_summary_and_usage_have_to_be_what_they_say():
    def wrong_summary():
        return Result(output=1, summary=5)

    def wrong_usage():
        return Result(output=1, usage={"calls": 1})

    assert "summary of type int" in (await failure(wrong_summary)).message
    assert "usage of type dict" in (await failure(wrong_usage)).message
