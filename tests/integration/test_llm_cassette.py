"""Recorded answers: no network, no key, no secret, and a word on what is missing."""

from __future__ import annotations

import json

import pytest
from support.model_server import Reply, model_server, refusal

from starlings import Agent, StepContext
from starlings.agents.loading import builtin_agents
from starlings.agents.models import AgentModels
from starlings.llm import Cassette, LlmSettings, ModelClient, ModelFailed
from starlings.llm.chat import system, tool_result, user
from starlings.messages import ConfigError, ToolDefinition
from starlings.testing import LocalRun

KEY = "sk-very-secret-1234567890"
LOOK = ToolDefinition(name="look", parameters={"type": "object", "properties": {}})


@pytest.fixture
def server():
    with model_server() as running:
        yield running


@pytest.fixture
def tape(tmp_path):
    return tmp_path / "tapes" / "one.jsonl"


def live(server, tape, mode, **more):
    settings = LlmSettings(
        _env_file=None,
        openai_api_key=KEY,
        openai_base_url=server.base_url,
        model="m-1",
        retries=0,
        **more,
    )
    return ModelClient(settings, cassette=Cassette(tape, mode=mode))


def deaf(tape):
    """Make a client that nobody is configured for."""
    return ModelClient(LlmSettings(_env_file=None, cassette=tape, cassette_mode="replay"))


async def converse(model):
    messages = [system("Rules."), user("Look at the bird")]
    turn = await model.chat(messages, tools=[LOOK])
    result = tool_result(turn.calls[0], "blue")
    second = await model.chat([*messages, turn.message, result], tools=[LOOK])
    return [turn, second]


def call(call_id):
    function = {"name": "look", "arguments": "{}"}
    message = {"tool_calls": [{"id": call_id, "type": "function", "function": function}]}
    choice = {"message": {"content": "", **message}, "finish_reason": "tool_calls"}
    return {"model": "m-1", "choices": [choice], "usage": {"prompt_tokens": 5}}


def calling(call_id):
    return Reply(body=call(call_id))


async def test_what_was_recorded_is_played_back_without_a_server_or_a_key(server, tape):
    server.replies(calling("x77"), "It is blue.")
    async with live(server, tape, "record") as model:
        recorded = await converse(model)
    async with deaf(tape) as model:
        assert "recorded in" in model.endpoint.description
        assert await converse(model) == recorded


async def test_a_recording_is_the_same_however_the_server_had_to_be_asked(server, tape):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    server.replies(refusal(400), refusal(400), '{"n": 1}')
    async with live(server, tape, "record") as model:
        await model.structured([user("n?")], schema, name="n")
    async with deaf(tape) as model:
        assert (await model.structured([user("n?")], schema, name="n")).value == {"n": 1}
    assert len(tape.read_text().splitlines()) == 1


async def test_a_text_with_line_ends_of_unicode_is_one_line_of_a_recording(server, tape):
    server.replies("one\u2028two\x85three")
    async with live(server, tape, "record") as model:
        recorded = await model.chat([user("Well?")])
    async with deaf(tape) as model:
        assert await model.chat([user("Well?")]) == recorded


async def test_a_question_asked_several_times_has_its_answers_in_their_order(server, tape):
    server.replies("yes", "no")
    async with live(server, tape, "record") as model:
        for _ in range(2):
            await model.chat([user("Well?")])
    async with deaf(tape) as model:
        assert [(await model.chat([user("Well?")])).text for _ in range(3)] == ["yes", "no", "no"]


async def test_of_two_recordings_the_last_one_counts(server, tape):
    for answers in (["yes", "no"], ["maybe"]):
        server.replies(*answers)
        async with live(server, tape, "record") as model:
            for _ in answers:
                await model.chat([user("Well?")])
    async with deaf(tape) as model:
        assert (await model.chat([user("Well?")])).text == "maybe"


async def test_auto_asks_for_what_is_missing_and_for_nothing_else(server, tape):
    server.replies("one", "two")
    for _ in range(2):
        async with live(server, tape, "auto") as model:
            assert [(await model.chat([user(t)])).text for t in ("1?", "2?")] == ["one", "two"]
    assert len(server.requests) == 2


async def test_a_missing_answer_names_the_file_and_the_nearest_difference(server, tape):
    server.replies("5", "blue")
    async with live(server, tape, "record") as model:
        await model.chat([system("You add."), user("Add 2 and 3 with care")])
        await model.chat([user("Which colour?")])
    async with deaf(tape) as model:
        with pytest.raises(ModelFailed) as caught:
            await model.chat([system("You add."), user("Add 2 and 4 with care")])
    said = str(caught.value)
    assert caught.value.code == "model_not_recorded"
    assert str(tape) in said
    assert "messages[1].content was 'Add 2 and 3 with care', and now is 'Add 2 and 4" in said
    assert "STARLINGS_LLM_CASSETTE_MODE=auto" in said


async def test_another_temperature_or_model_is_another_question(server, tape):
    server.replies("cold")
    async with live(server, tape, "record", temperature=0.0) as model:
        await model.chat([user("?")])
    async with live(server, tape, "replay", temperature=1.0) as model:
        with pytest.raises(ModelFailed, match=r"temperature was 0\.0, and now is 1\.0"):
            await model.chat([user("?")])
    async with live(server, tape, "replay", temperature=0.0) as model:
        with pytest.raises(ModelFailed, match="model was 'm-1', and now is 'm-2'"):
            await model.using("m-2").chat([user("?")])


async def test_no_secret_is_written_and_nobody_else_may_read_the_file(server, tape):
    server.replies(f"Your key is {KEY}")
    async with live(server, tape, "record") as model:
        await model.chat([user(f"What is my key? I think {KEY}")])
    assert KEY not in tape.read_text()
    assert tape.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "line", ["nonsense", "[]", '{"key": "x"}', '{"take":1,"key":1,"asked":{},"reply":7}']
)
def test_a_line_that_is_no_answer_is_named(tape, line):
    tape.parent.mkdir()
    tape.write_text(f"\n{line}\n")
    with pytest.raises(ConfigError, match=r"line 2 of .*one\.jsonl"):
        Cassette(tape)


def test_a_line_that_a_crash_cut_off_is_left_aside(tape):
    tape.parent.mkdir()
    tape.write_text('{"take": "a", "key"')
    assert Cassette(tape).model is None


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"there is no file nowhere\.jsonl"):
        Cassette("nowhere.jsonl")


async def test_a_whole_run_is_recorded_with_the_offline_rules_and_played_back(tape):
    agents = [agent for agent in builtin_agents() if agent.name == "math"]
    plan = {"steps": [{"id": "s1", "agent": "math", "task": "Add 2 and 3", "depends_on": []}]}
    quiet = LlmSettings(_env_file=None)
    results = []
    for mode in ("record", "replay"):
        async with AgentModels(quiet, cassette=Cassette(tape, mode=mode)) as models:
            done = await LocalRun(plan, agents, model=models)
        results.append((done.outcome, done.steps[0].output))
    assert results[0] == results[1]
    assert results[0][1] == 5
    entry = json.loads(tape.read_text().splitlines()[0])
    assert entry["asked"]["model"] == "starlings-offline-rules"


async def test_recordings_are_chosen_by_the_environment(server, tape, monkeypatch, tmp_path):
    server.replies("It is blue.")
    agent = Agent("seer", description="Sees", model="m-9")

    @agent.step
    async def see(task: str, ctx: StepContext) -> str:
        return await ctx.model.text(task)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STARLINGS_LLM_CASSETTE", str(tape))
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    plan = {"steps": [{"id": "s1", "agent": "seer", "task": "Which colour?", "depends_on": []}]}
    for mode in ("record", "replay"):
        monkeypatch.setenv("STARLINGS_LLM_CASSETTE_MODE", mode)
        async with AgentModels() as models:
            done = await LocalRun(plan, [agent], model=models)
        assert done.steps[0].output == "It is blue."
        monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert len(server.requests) == 1
