"""Arguments of tools: coerced where the meaning is clear, refused all at once where it is not."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import pytest
from pydantic import AfterValidator, BaseModel

from starlings import Agent, StepContext
from starlings.agents.execute import execute
from starlings.messages import StepReady


class Person(BaseModel):
    name: str
    born: date | None = None


def odd_only(value: int) -> int:
    if value == 13:
        raise RuntimeError("bad luck")
    if value % 2 == 0:
        raise ValueError("it has to be odd")
    return value


agent = Agent("a", description="Does things")


@agent.tool
def scale(number: int, by: float = 2.0, *, loud: bool = False) -> list:
    """Scales."""
    return [number, by, loud]


@agent.tool
async def greet(person: Person, words: list[str], ctx: StepContext) -> str:
    """Greets."""
    return f"{person.name} {person.born!r} {words} {ctx.idempotency_key}"


@agent.tool
def pick(number: Annotated[int, AfterValidator(odd_only)]) -> int:
    """Takes odd numbers."""
    return number


@agent.tool
def nothing() -> None:
    """Does nothing."""


async def call(tool, **args):
    step = StepReady(run_id="r", step_id="s", attempt=1, agent="a", tool=tool, args=args)
    return await execute(agent, step)


@pytest.mark.parametrize(
    ("args", "output"),
    [
        ({"number": "5"}, [5, 2.0, False]),
        ({"number": 5.0, "by": "0.5"}, [5, 0.5, False]),
        ({"number": 5, "by": 3, "loud": "true"}, [5, 3.0, True]),
        ({"number": 2**70}, [2**70, 2.0, False]),
    ],
)
async def test_arguments_are_coerced_where_the_meaning_is_clear(args, output):
    assert (await call("scale", **args)).output == output


async def test_structured_arguments_are_read_as_json_and_the_context_is_put_in():
    done = await call("greet", person={"name": "Ada", "born": "1815-12-10"}, words=["hi", 5])
    assert done.output == "Ada datetime.date(1815, 12, 10) ['hi', '5'] r/s/1"


async def test_every_problem_with_the_arguments_is_reported_at_once():
    no_number = "Input should be a valid number, unable to parse string as a number"
    done = await call("scale", by="much", volume=11, loud=[])
    assert done.error.code == "arguments_invalid"
    assert not done.error.retryable
    assert done.error.message.split("; ") == [
        "scale: the argument 'number' is missing",
        f"scale: 'by': {no_number} (it is 'much')",
        "scale: 'loud': Input should be a valid boolean (it is [])",
        "scale: there is no argument 'volume'",
        "it takes number, by, loud",
    ]
    assert done.calls == []


@pytest.mark.parametrize(
    ("tool", "args", "words"),
    [
        ("scale", {"number": 5.5}, "'number': Input should be a valid integer"),
        ("scale", {"number": None}, "'number': Input should be a valid integer"),
        ("scale", {"number": "x" * 500}, "xxx…"),
        ("greet", {"person": {}, "words": "hi"}, "the argument 'person.name' is missing"),
        ("nothing", {"a": 1}, "there is no argument 'a'; it takes none"),
        ("pick", {"number": 2}, "'number': it has to be odd (it is 2)"),
        ("pick", {"number": 13}, "pick: RuntimeError: bad luck"),
        ("greet", {"person": 1, "words": [], "ctx": {}}, "no argument 'ctx'; it takes person"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused(tool, args, words):
    done = await call(tool, **args)
    assert done.error.code == "arguments_invalid"
    assert words in done.error.message


async def test_a_tool_that_does_not_exist_is_answered_with_those_that_do():
    done = await call("shrink")
    assert done.error.code == "unknown_tool"
    assert "no tool 'shrink'; it has scale, greet, pick, nothing" in done.error.message


async def test_a_named_tool_takes_its_arguments_literally():
    echo = Agent("a", description="Echoes")

    @echo.tool(name="echo")
    def say(text: str) -> str:
        """Says it."""
        return text

    step = StepReady(run_id="r", step_id="s", attempt=1, agent="a", tool="echo")
    done = await execute(echo, step.model_copy(update={"args": {"text": "previous"}}))
    assert done.output == "previous"


async def test_a_named_tool_that_raises_fails_the_step_with_its_name():
    failing = Agent("a", description="Fails")

    @failing.tool
    def crash() -> None:
        """Crashes."""
        raise LookupError("nothing there")

    done = await execute(
        failing, StepReady(run_id="r", step_id="s", attempt=1, agent="a", tool="crash")
    )
    assert done.error.code == "tool_failed"
    assert done.error.message == "tool 'crash' failed: LookupError: nothing there"
    assert done.error.causes[0] == "LookupError: nothing there"
    (recorded,) = done.calls
    assert (recorded.tool, recorded.error) == ("crash", "LookupError: nothing there")
