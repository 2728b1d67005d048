"""ReAct with the real model client: what models do wrong, and what ends it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from support.birds import Birds, calls, run
from support.model_server import model_server

from starlings import Agent, ReAct


@pytest.fixture
def server():
    with model_server() as running:
        yield running


async def test_names_that_do_not_exist_and_wrong_types_are_shown_to_the_model_before_any_call(
    server,
):
    birds = Birds()
    bad = calls(("find", {"name": "wren"}), ("hunt", {}), ("look", {"where": 1}))
    done = await run(server, birds, bad, calls(("look", {"place": "roof"})), "Seven.")
    assert done.output == "Seven."
    assert birds.called == [("look", "roof")]
    told = server.requests[1]["messages"][-1]["content"]
    assert "there is no tool 'hunt'; there are find, ring, look, give_up" in told
    assert "look: there is no argument 'where'; it takes place" in told


async def test_a_model_that_never_mends_its_calls_fails_the_step_and_calls_nothing(server):
    birds = Birds()
    done = await run(server, birds, *[calls(("hunt", {}))] * 3)
    assert done.error.code == "model_output_invalid"
    assert "there is no tool 'hunt'" in done.error.message
    assert (birds.called, done.usage.calls) == ([], 3)


async def test_a_thousand_calls_in_one_answer_are_not_made(server):
    birds = Birds()
    flood = calls(*[("look", {"place": str(number)}) for number in range(1_000)])
    done = await run(server, birds, flood, flood, flood)
    assert done.error.code == "model_output_invalid"
    assert "there are 1000 calls, and the limit is 32" in done.error.message
    shown = server.requests[1]["messages"][-2]["content"]
    assert shown.endswith("and 980 more")  # nobody pays for all of them once more
    assert birds.called == []


@pytest.mark.parametrize("given", [str, json.loads], ids=["in words", "as an object"])
async def test_arguments_that_are_nested_too_deeply_are_the_models_to_mend(server, given):
    birds = Birds()
    deep = '{"place": ' + "[" * 300 + "]" * 300 + "}"
    bad = calls(("look", deep))
    bad.message["tool_calls"][0]["function"]["arguments"] = given(deep)
    done = await run(server, birds, bad, calls(("look", {"place": "roof"})), "Seven.")
    assert (done.output, birds.called) == ("Seven.", [("look", "roof")])
    assert (
        "look: the arguments have to be a JSON object"
        in (server.requests[1]["messages"][-1]["content"])
    )


async def test_turns_are_bounded_and_the_error_says_what_to_raise(server):
    birds = Birds(max_turns=3)
    script = [calls(("look", {"place": str(number)})) for number in range(3)]
    done = await run(server, birds, *script)
    assert (done.error.code, done.error.retryable) == ("turns_exhausted", False)
    assert "in all of its 3 turns" in done.error.message
    assert "ReAct(max_turns=…) of agent 'guide'" in done.error.message
    assert len(birds.called) == done.usage.calls == 3


async def test_calls_are_bounded_over_all_turns(server):
    birds = Birds(max_calls=3)
    script = [calls(("look", {"place": f"a{n}"}), ("look", {"place": f"b{n}"})) for n in range(2)]
    done = await run(server, birds, *script)
    assert done.error.code == "calls_exhausted"
    assert "ReAct(max_calls=…)" in done.error.message
    assert len(birds.called) == 2


async def test_the_same_call_again_and_again_is_told_to_the_model_and_then_ends_the_step(server):
    birds = Birds(max_turns=50)
    done = await run(server, birds, *[calls(("look", {"place": "roof"}))] * 3)
    assert done.error.code == "calls_repeated"
    assert "the same calls (look) with the same results 3 times" in done.error.message
    assert len(birds.called) == 3
    assert "gave the same results as before" in server.requests[2]["messages"][-1]["content"]
    assert server.requests[1]["messages"][-1]["role"] == "tool"


async def test_a_long_conversation_is_shown_with_its_oldest_results_cut_short(server):
    agent = Agent("guide", description="Reads", strategy=ReAct(max_history=20_000))

    @agent.tool(idempotent=True)
    def read(page: int) -> str:
        """Reads a page."""
        return f"{page}" * 9_000

    birds = SimpleNamespace(agent=agent)
    script = [calls(("read", {"page": page})) for page in range(1, 5)]
    done = await run(server, birds, *script, "Read.")
    assert done.output == "Read."
    last = server.requests[-1]["messages"]
    told = [json.loads(message["content"]) for message in last if message["role"] == "tool"]
    assert [sorted(each) for each in told] == [["begins", "cut_off_at"]] * 3 + [["output"]]
    assert len(json.dumps(last)) < 21_000
    assert all(len(call.output) <= 300 for call in done.calls)
