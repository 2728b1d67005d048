"""What authors declare, and the words they get where it cannot be."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from starlings import Agent, StepContext
from starlings.messages import AgentDefined, AgentTopic, ConfigError, Topics


class Trip(BaseModel):
    to: str
    days: int = Field(default=1, description="how long")


def agent(name="a", **more):
    return Agent(name, description="Does things", **more)


def parameters(function):
    made = agent()
    made.tool(function)
    return made.definition().tools[0].parameters


def test_a_tools_schema_comes_from_its_signature_and_docstring():
    made = agent()

    @made.tool
    def scale(numbers: list[float], by: float = 2.0, *, mode: Literal["up", "down"] = "up") -> str:
        """Scales numbers.

        All of them alike.

        Args:
            numbers: what is scaled.
            by: the factor, which
                may be a fraction.
            mode: which way.
        """
        return f"{numbers}{by}{mode}"

    tool = made.definition().tools[0]
    assert tool.name == "scale"
    assert tool.description == "Scales numbers.\n\nAll of them alike."
    assert tool.parameters == {
        "type": "object",
        "additionalProperties": False,
        "required": ["numbers"],
        "properties": {
            "numbers": {
                "type": "array",
                "items": {"type": "number"},
                "description": "what is scaled.",
            },
            "by": {
                "type": "number",
                "default": 2.0,
                "description": "the factor, which may be a fraction.",
            },
            "mode": {
                "type": "string",
                "enum": ["up", "down"],
                "default": "up",
                "description": "which way.",
            },
        },
    }
    assert scale([1], 3) == "[1]3up"  # the function itself stays what it was


def test_a_tool_may_take_models_and_the_context_which_no_caller_gives():
    def book(trip: Trip, ctx: StepContext) -> str:
        """Books."""

    schema = parameters(book)
    assert list(schema["properties"]) == ["trip"]
    assert schema["$defs"]["Trip"]["properties"]["days"]["description"] == "how long"


def test_a_tool_without_arguments_has_an_empty_schema():
    def now() -> str:
        """Tells the time."""

    assert parameters(now)["properties"] == {}


def test_names_that_models_of_pydantic_use_themselves_are_good_argument_names():
    def odd(copy: int, schema: str, model_config: int, _x: int = 1) -> int:
        """Takes odd names."""

    assert list(parameters(odd)["properties"]) == ["copy", "schema", "model_config", "_x"]


def test_a_tool_can_have_another_name_and_description():
    made = agent()

    @made.tool(name="sum", description="Adds up.")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    assert [(t.name, t.description) for t in made.definition().tools] == [("sum", "Adds up.")]


def test_a_step_function_publishes_the_schema_of_the_input_it_takes():
    made = agent()

    @made.step
    async def book(trip: Trip, ctx: StepContext) -> str:
        return trip.to

    definition = made.definition()
    assert definition.takes is not None
    assert definition.takes["required"] == ["to"]
    assert definition.tools == []
    assert AgentDefined.model_validate_json(definition.model_dump_json()) == definition


def test_a_step_function_of_words_takes_no_structured_input():
    made = agent(version="7", scales_from_zero=True)
    made.step(lambda_with_task)
    definition = made.definition()
    assert definition.takes is None
    assert (definition.version, definition.scales_from_zero) == ("7", True)


def lambda_with_task(task: str) -> str:
    return task


def no_docstring(a: int) -> int:
    return a


def unannotated(a, b: int) -> int:
    """Says nothing about a."""


def spread(*numbers: int) -> int:
    """Takes any number of numbers."""


def keywords(**numbers: int) -> int:
    """Takes any names."""


def positional(a: int, /) -> int:
    """Takes a, by position only."""


def generator(a: int):
    """Yields."""
    yield a


def unknown_type(a: NotThere) -> int:  # noqa: F821 - the point
    """Takes what does not exist."""


def unusable_type(a: Thread) -> int:
    """Takes what no JSON can be."""


def field_as_default(a: int = Field(gt=0)) -> int:
    """Takes what looks like a number."""


class Thread:
    pass


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (no_docstring, "has no description; write a docstring"),
        (unannotated, "parameter 'a' has no annotation; write a: <type>"),
        (spread, r"\*numbers cannot be described to a caller"),
        (keywords, r"\*\*numbers cannot be described to a caller"),
        (positional, "a is positional-only"),
        (generator, "is a generator; return a value"),
        (unknown_type, "NameError.*NotThere.*module level"),
        (unusable_type, "parameter 'a': cannot validate Thread"),
        (field_as_default, "write 'a' as Annotated"),
    ],
)
def test_a_tool_that_cannot_be_called_is_refused_where_it_is_registered(function, words):
    with pytest.raises(ConfigError, match=f"tool '{function.__name__}' of agent 'a'.*{words}"):
        agent().tool(function)


@pytest.mark.parametrize("name", ["", "Math", "9lives", "a b", "a.b", "x" * 64, "a\n", "ä"])
def test_an_agents_name_has_to_fit_a_topic(name):
    with pytest.raises(ConfigError, match="is not usable"):
        agent(name)


@pytest.mark.parametrize("description", ["", "  \n"])
def test_an_agent_needs_a_description(description):
    with pytest.raises(ConfigError, match="agent 'a' has no description"):
        Agent("a", description=description)


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, True])
def test_concurrency_is_a_whole_number_from_one_on(concurrency):
    with pytest.raises(ConfigError, match="concurrency"):
        agent(concurrency=concurrency)


def test_two_tools_of_one_name_are_refused():
    made = agent()
    made.tool(description="One.")(no_docstring)
    with pytest.raises(ConfigError, match="two tools named 'no_docstring'; rename one"):
        made.tool(description="Two.")(no_docstring)


@pytest.mark.parametrize("name", ["with blank", "1st", "x" * 65])
def test_a_tools_name_is_an_identifier(name):
    with pytest.raises(ConfigError, match="the name has to consist of"):
        agent().tool(name=name, description="Odd.")(no_docstring)


def test_an_agent_is_one_function_or_a_set_of_tools_and_never_both():
    with_tools, with_step = agent(), agent()
    with_tools.tool(description="One.")(no_docstring)
    with_step.step(lambda_with_task)
    with pytest.raises(ConfigError, match="both tools and a step function"):
        with_tools.step(lambda_with_task)
    with pytest.raises(ConfigError, match="both tools and a step function"):
        with_step.tool(description="One.")(no_docstring)
    with pytest.raises(ConfigError, match="has a step function already"):
        with_step.step(lambda_with_task)


def test_an_agent_that_can_do_nothing_has_no_definition():
    with pytest.raises(ConfigError, match="can do nothing yet"):
        agent().definition()


def test_a_step_function_takes_one_text_and_one_input_at_most():
    def two_texts(task: str, more: str) -> str: ...
    def two_inputs(trip: Trip, other: Trip) -> str: ...

    for function in (two_texts, two_inputs):
        with pytest.raises(ConfigError, match="at most one str"):
            agent().step(function)


def test_constraints_in_annotations_reach_the_schema():
    def draw(count: Annotated[int, Field(ge=1, le=3, description="how many")]) -> int:
        """Draws."""

    assert parameters(draw)["properties"]["count"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 3,
        "description": "how many",
    }


def test_the_context_is_frozen_and_names_the_attempt():
    ctx = StepContext(run_id="r1", step_id="s2", attempt=3, agent="a")
    assert ctx.idempotency_key == "r1/s2/3"
    with pytest.raises(dataclasses.FrozenInstanceError):
        ctx.attempt = 4


def test_topics_of_its_own_are_in_the_definition_and_among_the_topics_of_agents():
    own = AgentTopic(name="prices.eu", compacted=True, description="the latest prices")
    for topics in ([own], lambda: [own]):
        made = agent(topics=topics)
        made.tool(nothing)
        definition = AgentDefined.model_validate_json(made.definition().as_json())
        assert definition.topics == [own]
        spec = {spec.name: spec for spec in Topics().specs_of([definition], partitions=3)}[
            "starlings.prices.eu"
        ]
        assert (spec.partitions, spec.settings["cleanup.policy"]) == (3, "compact")


def nothing() -> str:
    """Does nothing."""
    return ""


@pytest.mark.parametrize(
    "name", ["steps.math", "checkpoints.x", "facts.y", "events", "a..b", "A.b"]
)
def test_a_topic_of_its_own_cannot_be_one_of_others(name):
    with pytest.raises(ValidationError):
        AgentTopic(name=name)


def test_without_topics_of_its_own_none_are_told():
    made = agent()
    made.tool(nothing)
    assert b"topics" not in made.definition().as_json()
