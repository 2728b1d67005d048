"""The record of an attempt's calls: what travels with `step_done`, and what does not."""

from __future__ import annotations

from pydantic_core import from_json

from starlings import Agent, StepContext
from starlings.agents.call_record import RECORD_BYTES, Asked, CallRecord, digest_of
from starlings.agents.execute import execute
from starlings.llm.redaction import without_secrets
from starlings.messages import StepDone, StepReady, Usage

READY = StepReady(run_id="r1", step_id="s1", attempt=1, agent="test", task="do it")


def agent_that(step, **options) -> Agent:
    agent = Agent("test", description="Tests", **options)
    agent.step(step)
    return agent


async def ask_twice(ctx: StepContext) -> str:
    first = await ctx.once("first", lambda: {"a": None, "b": [1]})
    await ctx.once("second", lambda: "two")
    return str(first)


async def test_the_end_of_a_step_carries_what_its_calls_gave():
    done = await execute(agent_that(ask_twice), READY)
    assert done.kept is not None
    assert done.kept.answers == {"first": {"a": None, "b": [1]}, "second": "two"}
    assert StepDone.model_validate_json(done.as_json()) == done


async def test_a_step_that_keeps_nothing_says_nothing_of_it():
    done = await execute(agent_that(lambda: 1), READY)
    assert done.kept is None
    assert "kept" not in from_json(done.as_json())


async def test_an_agent_that_records_no_calls_keeps_them_out_of_the_log():
    done = await execute(agent_that(ask_twice, records_calls=False), READY)
    assert done.kept is None


async def test_a_secret_answer_is_left_out_and_counted():
    async def step(ctx: StepContext) -> str:
        token = await ctx.once("login", lambda: "s3cr3t-s3cr3t", secret=True)
        assert await ctx.once("login", lambda: "another", secret=True) == token
        return await ctx.once("ask", lambda: "public")

    done = await execute(agent_that(step), READY)
    assert done.kept is not None
    assert (done.kept.answers, done.kept.left_out) == ({"ask": "public"}, 1)
    assert b"s3cr3t" not in done.as_json()


async def test_what_looks_like_a_secret_is_taken_out_of_answers_and_of_failures():
    async def step(ctx: StepContext) -> str:
        await ctx.once("ask", lambda: {"url": "https://u:pw@host/x", "access_token": "abc", "n": 1})

        def fails() -> None:
            raise ValueError("bad key sk-0123456789abcdefghij")

        try:
            await ctx.once("fails", fails)
        except ValueError:
            return "went on"
        return ""

    done = await execute(agent_that(step), READY)
    assert done.kept is not None
    assert done.kept.answers == {
        "ask": {"url": "https://***@host/x", "access_token": "***", "n": 1}
    }
    assert done.kept.failures["fails"].message == "ValueError: bad key ***"


def test_counts_of_tokens_are_no_secrets():
    usage = {"input_tokens": 3, "token": 4, "total_token": None, "tokens": "many", "token_id": "x"}
    assert without_secrets(usage) == usage


def test_the_record_is_bounded_and_says_how_much_it_lacks():
    record = CallRecord()
    record.add("large", "x" * RECORD_BYTES, Asked())
    for number in range(100):
        record.add(f"call {number}", "y" * 1_000, Asked())
    told = record.told()
    assert 0 < len(told.answers) < 70
    assert len(told.model_dump_json()) < RECORD_BYTES + 2_000
    assert told.left_out == 101 - len(told.answers)


def test_an_answer_that_no_reader_could_read_is_left_out():
    deep: list = []
    for _ in range(195):
        deep = [deep]
    record = CallRecord()
    record.add("deep", deep, Asked())
    record.add("torn", "\ud800", Asked())
    record.add("fine", 1, Asked())
    assert (record.told().answers, record.told().left_out) == ({"fine": 1}, 2)


def test_a_failure_that_came_to_something_later_is_forgotten():
    record = CallRecord()
    record.failed("ask", ValueError("away"), Asked())
    record.add("ask", 7, Asked())
    record.add("ask", 8, Asked())  # the first one counts
    assert (record.told().answers, record.told().failures) == ({"ask": 7}, {})


def test_calls_of_a_tool_are_alike_whatever_the_order_of_their_arguments():
    assert digest_of("add", {"a": 1, "b": {"x": 1, "y": 2}}) == digest_of(
        "add", {"b": {"y": 2, "x": 1}, "a": 1}
    )
    assert digest_of("add", {"a": 1}) != digest_of("add", {"a": 2})
    assert digest_of("add", {}) != digest_of("sub", {})


async def test_tools_that_may_be_repeated_are_recorded_too():
    agent = Agent("test", description="Looks")

    @agent.tool(idempotent=True)
    def look(at: str) -> str:
        """Looks."""
        return f"{at}!"

    plan = {"calls": [{"tool": "look", "args": {"at": "x"}, "reasoning": "r"}], "cannot": None}

    class Model:
        async def structured(self, *_, on_usage, **__):
            return type("Answer", (), {"value": plan, "usage": on_usage(None) or Usage()})()

    done = await execute(agent, READY, model=Model())
    assert done.kept is not None
    names = list(done.kept.answers)
    assert names[0] == "starlings:model/1"
    assert names[1].startswith("starlings:call/1/")
    assert done.kept.tools == {names[1]: digest_of("look", {"at": "x"})}
