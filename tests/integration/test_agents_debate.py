"""Debate and vote with the real model client: panels, ties, failures, judges."""

from __future__ import annotations

import json
import re
import threading

import pytest
from support.model_server import ModelServer, Reply, model_server, refusal

from starlings import Agent, Debate, LocalRun
from starlings.agents.execute import execute
from starlings.agents.models import AgentModels
from starlings.agents.once import CallsInMemory, remembering
from starlings.llm import LlmSettings, ModelClient
from starlings.messages import StepReady

READY = StepReady(run_id="r", step_id="s", attempt=1, agent="panel", task="Which bird is it?")


class Panel(ModelServer):
    """Each model says what it was told to, whoever comes first; judges are told apart."""

    def __init__(self):
        super().__init__()
        self.says: dict[str, list[Reply]] = {}
        self._lock = threading.Lock()

    def next_reply(self, request, _headers):
        with self._lock:
            self.requests.append(request)
            judges = "\n\nYou judge" in request["messages"][0]["content"]
            name = "judge" if judges else request["model"]
            return self.says[name].pop(0) if self.says.get(name) else refusal(418, f"{name}?")

    def asked(self, model):
        return [request for request in self.requests if request["model"] == model]


@pytest.fixture
def server():
    panel = Panel()
    with model_server(panel):
        yield panel


def says(answer, reasoning="so"):
    return Reply(json.dumps({"reasoning": reasoning, "answer": answer}))


def judges(best, reason="it is right"):
    return Reply(json.dumps({"best": best, "reason": reason}))


async def run(server, debate, *, says, heartbeat=None):
    server.says = {
        name: list(replies) if isinstance(replies, list) else [replies]
        for name, replies in says.items()
    }
    agent = Agent("panel", description="Knows birds", strategy=debate)
    given = {"openai_api_key": "sk-x", "openai_base_url": server.base_url, "retries": 0}
    settings = LlmSettings(_env_file=None, model="own", circuit_failures=100, **given)
    async with ModelClient(settings) as model:
        return await execute(agent, READY, model=model, heartbeat=heartbeat)


ABC = ["a-1", "b-2", "c-3"]


async def test_the_answer_that_most_gave_wins_a_vote_and_nobody_judges(server):
    debate = Debate(models=ABC, decide="majority", temperature=0.7)
    said = {"a-1": says("A Wren."), "b-2": says("an owl"), "c-3": says(" a  wren")}
    done = await run(server, debate, says=said)
    assert done.output == {
        "answer": "A Wren.",
        "decided_by": "majority",
        "votes": 2,
        "reason": "",
        "answers": [
            {"model": "a-1", "answer": "A Wren.", "error": None},
            {"model": "b-2", "answer": "an owl", "error": None},
            {"model": "c-3", "answer": " a  wren", "error": None},
        ],
    }
    assert done.summary == "A Wren."
    assert done.usage.calls == 3
    assert [request["temperature"] for request in server.requests] == [0.7] * 3


async def test_a_tie_is_for_the_judge_who_sees_only_those_who_tie(server):
    debate = Debate(models=["a-1", "b-2"], samples=2, decide="majority", judge="judge-9")
    said = {"a-1": [says("wren"), says("wren")], "b-2": [says("owl"), says("owl")]}
    done = await run(server, debate, says={**said, "judge": judges(2)})
    [asked] = server.asked("judge-9")
    shown = _answers(asked)
    assert sorted(one["answer"] for one in shown) == ["owl", "wren"]
    assert (done.output["answer"], done.output["decided_by"]) == (shown[1]["answer"], "judge")
    assert (done.output["votes"], done.output["reason"]) == (2, "it is right")


async def test_a_judge_chooses_among_different_answers_without_names_or_votes(server):
    said = {"own": [says("wren"), says("owl", "big eyes"), says("wren")], "judge": judges(1)}
    done = await run(server, Debate(), says=said)
    asked = server.requests[-1]
    assert _answers(asked) == [
        {"number": n, "reasoning": one["reasoning"], "answer": one["answer"]}
        for n, one in enumerate(_answers(asked), 1)
    ]
    assert len(_answers(asked)) == 2
    assert "sample" not in asked["messages"][1]["content"]
    assert done.output["answer"] == _answers(asked)[0]["answer"]
    assert [one["model"] for one in done.output["answers"]] == ["sample 1", "sample 2", "sample 3"]


async def test_the_order_in_which_a_judge_sees_answers_is_that_of_no_model(server):
    seen = set()
    for first, second in (("wren", "owl"), ("owl", "wren")):
        said = {"a-1": says(first), "b-2": says(second), "judge": judges(1)}
        await run(server, Debate(models=["a-1", "b-2"]), says=said)
        seen.add(tuple(one["answer"] for one in _answers(server.requests[-1])))
    assert len(seen) == 1


async def test_where_all_agree_nobody_judges(server):
    said = {name: says("wren") for name in ABC}
    done = await run(server, Debate(models=ABC), says=said)
    assert (done.output["decided_by"], done.output["votes"]) == ("all", 3)
    assert len(server.requests) == 3


async def test_one_that_fails_does_not_fail_the_vote(server):
    said = {"a-1": says("wren"), "b-2": refusal(401), "c-3": says("wren")}
    done = await run(server, Debate(models=ABC), says=said)
    assert (done.output["answer"], done.output["votes"]) == ("wren", 2)
    assert done.output["answers"][1]["answer"] is None
    assert done.output["answers"][1]["error"]
    assert done.usage.calls == 2


async def test_one_that_answers_nonsense_is_as_one_that_fails(server):
    said = {"a-1": says("wren"), "b-2": [Reply("wren!")] * 3, "c-3": [says(" "), *[says("")] * 2]}
    done = await run(server, Debate(models=ABC, quorum=1), says=said)
    assert done.output["decided_by"] == "all"
    errors = [one["error"] for one in done.output["answers"]]
    assert errors[0] is None
    assert "answer" in errors[2]


async def test_without_a_quorum_the_step_fails_and_says_what_the_others_said(server):
    said = {"a-1": says("wren"), "b-2": refusal(401), "c-3": refusal(403, "not for you")}
    done = await run(server, Debate(models=ABC), says=said)
    assert (done.error.code, done.error.retryable) == ("no_quorum", False)
    assert "1 of 3 answered, and Debate(quorum=…) of agent 'panel' wants 2" in done.error.message
    assert "not for you" in done.error.message


async def test_without_a_quorum_for_now_the_step_is_tried_again(server):
    said = {"a-1": says("wren"), "b-2": refusal(503), "c-3": refusal(401)}
    done = await run(server, Debate(models=ABC), says=said)
    assert (done.error.code, done.error.retryable) == ("no_quorum", True)


async def test_in_further_rounds_each_sees_the_others_and_may_change_its_answer(server):
    said = {
        "a-1": [says("wren"), says("owl")],
        "b-2": [says("owl", "big eyes"), says("owl")],
        "c-3": [says("wren"), refusal(503)],
    }
    signs = []

    async def heartbeat(progress):
        signs.append(progress)

    debate = Debate(models=ABC, rounds=2, decide="majority")
    done = await run(server, debate, says=said, heartbeat=heartbeat)
    assert (done.output["answer"], done.output["votes"]) == ("owl", 2)
    assert done.output["answers"][2] == {"model": "c-3", "answer": "wren", "error": None}
    second = server.asked("a-1")[1]
    assert {one["answer"] for one in _answers(second)} == {"wren", "owl"}
    assert "big eyes" in second["messages"][1]["content"]
    assert signs == [{"round": 1, "answered": 3}, {"round": 2, "answered": 3}]


async def test_a_judge_that_names_an_answer_that_is_not_there_mends_it(server):
    said = {"a-1": says("wren"), "b-2": says("owl"), "judge": [judges(7), judges(0), judges(2)]}
    done = await run(server, Debate(models=["a-1", "b-2"]), says=said)
    assert done.output["decided_by"] == "judge"
    assert "best: there are 2 answers" in server.requests[-2]["messages"][-1]["content"]


async def test_a_judge_that_cannot_be_asked_fails_the_step_for_now(server):
    said = {"a-1": says("wren"), "b-2": says("owl"), "judge": refusal(503)}
    done = await run(server, Debate(models=["a-1", "b-2"]), says=said)
    assert (done.error.code, done.error.retryable) == ("model_unavailable", True)
    assert done.usage.calls == 2


async def test_an_attempt_that_is_started_again_asks_only_those_who_have_not_answered(server):
    class Killed(BaseException):
        pass

    async def killed(progress):
        raise Killed

    memory = CallsInMemory()
    debate = Debate(models=ABC)
    with remembering(lambda: memory):
        said = {"a-1": says("wren"), "b-2": refusal(503), "c-3": says("wren")}
        with pytest.raises(Killed):
            await run(server, debate, says=said, heartbeat=killed)
        done = await run(server, debate, says={"b-2": says("wren")})
    assert (done.output["votes"], done.usage.calls) == (3, 3)
    assert len(server.asked("b-2")) == 2


async def test_the_offline_rules_take_part_in_a_debate(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    birds = Agent("birds", description="Knows birds")
    birds.step(lambda: "It is a wren.")
    panel = Agent("panel", description="Decides", strategy=Debate(models=ABC))
    steps = [
        {"id": "look", "agent": "birds", "task": "Look"},
        {"id": "d", "agent": "panel", "task": "Which bird is it?", "depends_on": ["look"]},
    ]
    async with AgentModels(LlmSettings(_env_file=None)) as models:
        done = await LocalRun({"steps": steps}, agents=[birds, panel], model=models)
    assert (done.output["answer"], done.output["votes"]) == ("It is a wren.", 3)


def _answers(request):
    """What a judge, or one of a further round, was shown."""
    data = re.search(r"<input>\n(.*)\n</input>", request["messages"][1]["content"])
    return json.loads(data[1])["answers"]
