"""An attempt that is run again has its calls answered from the record, or refused, or made."""

from __future__ import annotations

import pytest

from starlings import Agent, ReAct, StepContext
from starlings.agents.call_record import A_CALL
from starlings.agents.execute import execute
from starlings.llm.chat import ToolRequest, Turn
from starlings.messages import KeptAnswers, StepFailed, StepReady, TransientError, Usage
from starlings.replay import Answers, RecordedCalls

READY = StepReady(run_id="r1", step_id="s1", attempt=1, agent="test", task="do it")
USAGE = Usage(calls=1, input_tokens=10, model="m")


class Model:
    """Answers in turn; counts how often it is asked."""

    streams = False

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def structured(self, *_, validate, on_usage, **__):
        self.asked += 1
        value = self.answers.pop(0)
        assert not validate(value)
        on_usage(USAGE)
        return type("Answer", (), {"value": value, "usage": USAGE})()

    async def chat(self, *_, on_usage, **__):
        self.asked += 1
        on_usage(USAGE)
        return self.answers.pop(0)


def plan(*calls: tuple[str, dict]) -> dict:
    made = [{"tool": tool, "args": args, "reasoning": "r"} for tool, args in calls]
    return {"calls": made, "cannot": None}


class Shop:
    """An agent whose tools tell what was done."""

    def __init__(self, *, fails: bool = False, **options) -> None:
        self.done: list[str] = []
        self.agent = Agent("test", description="Buys", **options)
        seen: list[bool] = []
        self.replaying = seen

        @self.agent.tool
        def buy(what: str, ctx: StepContext) -> str:
            """Buys."""
            seen.append(ctx.replaying)
            self.done.append(f"buy {what}")
            if fails:
                raise ValueError(f"no {what} left")
            return f"{what} {len(self.done)}"

        @self.agent.tool(idempotent=True)
        def look(at: str) -> str:
            """Looks."""
            self.done.append(f"look {at}")
            return f"{at}!"


BUY = plan(("buy", {"what": "tea"}), ("look", {"at": "tea"}))


async def recorded(shop: Shop, model: Model):
    done = await execute(shop.agent, READY, model=model)
    shop.done.clear()
    return done


async def replay(shop: Shop, kept, asked: Model | None = None, **options):
    calls = RecordedCalls(kept, **options)
    with calls.within():
        done = await execute(shop.agent, READY, model=asked or Model(), replaying=True)
    return done, calls


async def test_a_recorded_step_runs_again_without_model_and_without_effect():
    shop = Shop()
    first = await recorded(shop, Model(BUY))
    again, calls = await replay(shop, first.kept)
    assert (again.outcome, again.output, again.calls) == (first.outcome, "tea!", first.calls)
    assert again.usage == first.usage
    assert shop.done == []
    assert len(calls.answered) == 3
    assert (calls.made, calls.missing, calls.refused) == ([], [], [])


async def test_a_call_that_is_not_in_the_record_is_refused():
    shop = Shop()
    again, calls = await replay(shop, None)
    assert again.error is not None
    assert again.error.code == "not_recorded"
    assert "no record of this attempt's calls" in again.error.message
    assert "'recorded-then-live'" in again.error.message
    assert calls.missing == ["starlings:model/1"]


async def test_what_is_missing_is_made_where_that_is_asked_for():
    shop = Shop()
    first = await recorded(shop, Model(BUY))
    assert first.kept is not None
    model_only = {n: a for n, a in first.kept.answers.items() if "model" in n}
    kept = KeptAnswers(answers=model_only)
    again, calls = await replay(shop, kept, answers=Answers.RECORDED_THEN_LIVE)
    assert again.output == "tea!"
    assert shop.done == ["buy tea", "look tea"]
    assert shop.replaying[-1] is True
    assert len(calls.made) == 2


async def test_live_takes_nothing_from_the_record():
    shop = Shop()
    first = await recorded(shop, Model(BUY))
    model = Model(plan(("buy", {"what": "milk"})))
    again, calls = await replay(shop, first.kept, model, answers=Answers.LIVE)
    assert (again.output, model.asked, calls.answered) == ("milk 1", 1, [])


async def test_effects_are_refused_where_asked_and_questions_are_not():
    shop = Shop()
    again, calls = await replay(
        shop, None, Model(BUY), answers=Answers.RECORDED_THEN_LIVE, refuse_effects=True
    )
    assert again.error is not None
    assert again.error.code == "effect_refused"
    assert shop.done == []
    assert len(calls.refused) == 1
    looking = plan(("look", {"at": "x"}))
    again, _ = await replay(shop, None, Model(looking), answers=Answers.LIVE, refuse_effects=True)
    assert again.output == "x!"


async def test_a_tool_is_answered_by_its_arguments_where_a_live_model_puts_it_elsewhere():
    shop = Shop()
    two = plan(("buy", {"what": "tea"}), ("buy", {"what": "tea"}), ("buy", {"what": "milk"}))
    first = await recorded(shop, Model(two))
    other = plan(("buy", {"what": "milk"}), ("buy", {"what": "tea"}), ("buy", {"what": "tea"}))
    again, calls = await replay(
        shop, first.kept, Model(other), model=Answers.LIVE, refuse_effects=True
    )
    assert [call.output for call in again.calls] == ["milk 3", "tea 1", "tea 2"]
    assert shop.done == []
    assert len(calls.made) == 1  # the model


async def test_a_tool_with_other_arguments_is_not_answered_from_its_place_in_the_record():
    def turns(what: str) -> list[Turn]:
        call = ToolRequest(id="1", name="buy", args={"what": what})
        return [Turn(calls=[call], usage=USAGE), Turn(text="done", usage=USAGE)]

    shop = Shop(strategy=ReAct())
    first = await recorded(shop, Model(*turns("tea")))
    assert first.outcome.value == "ok", first.error
    again, calls = await replay(shop, first.kept, Model(*turns("milk")), model=Answers.LIVE)
    assert again.error is not None
    assert (again.error.code, calls.missing) == ("not_recorded", ["starlings:react/1/0"])


async def test_what_failed_then_fails_again_in_the_same_words_and_the_step_goes_the_same_way():
    shop = Shop(fails=True)
    mended = plan(("look", {"at": "milk"}))
    first = await recorded(shop, Model(plan(("buy", {"what": "tea"})), mended))
    assert first.output == "milk!"
    again, _ = await replay(shop, first.kept)
    assert shop.done == []
    assert again.output == "milk!"
    assert again.calls == first.calls
    assert again.calls[0].error == "ValueError: no tea left"


async def test_an_error_of_ours_keeps_its_code_and_whether_it_may_be_tried_again():
    agent = Agent("test", description="Asks")

    @agent.step
    async def ask(ctx: StepContext) -> str:
        def away() -> str:
            raise TransientError("the shop is away", code="shop_away", retry_after_s=7)

        return str(await ctx.once("ask", away))

    first = await execute(agent, READY)
    calls = RecordedCalls(first.kept)
    with calls.within():
        again = await execute(agent, READY, replaying=True)
    assert first.error is not None
    assert again.error is not None
    assert again.error.model_copy(update={"causes": []}) == first.error.model_copy(
        update={"causes": []}
    )
    assert again.error.retry_after_s == 7


async def test_an_answer_that_does_not_fit_any_more_is_refused_with_the_reason():
    shop = Shop()
    first = await recorded(shop, Model(BUY))
    newer = Shop()
    newer.agent = Agent("test", description="Reserves")

    @newer.agent.tool
    def reserve(what: str) -> str:
        """Reserves."""
        return f"reserved {what}"

    again, calls = await replay(newer, first.kept)
    assert again.error is not None
    assert "does not fit any more" in again.error.message
    assert calls.answered == []
    model = Model(plan(("reserve", {"what": "tea"})))
    again, _ = await replay(newer, first.kept, model, answers=Answers.RECORDED_THEN_LIVE)
    assert again.output == "reserved tea"


async def test_what_was_left_out_of_the_record_is_said_to_be():
    calls = RecordedCalls(KeptAnswers(left_out=2))
    assert calls.find("login") is None
    with pytest.raises(StepFailed, match="left out of the record, as 2 were"):
        calls.permit("login", A_CALL, void=False)


async def test_the_same_call_twice_is_answered_twice():
    agent = Agent("test", description="Asks")

    @agent.step
    async def ask(ctx: StepContext) -> list:
        return [await ctx.once("n", lambda: 1), await ctx.once("n", lambda: 2)]

    first = await execute(agent, READY)
    calls = RecordedCalls(first.kept)
    with calls.within():
        again = await execute(agent, READY)
    assert again.output == first.output == [1, 1]
