"""Strategies on a running system: turns over a crash, votes, drafts and reviews, handing out."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from support.asking import effects, facts_of, open_gate
from support.model_server import ModelServer, Reply, model_server, refusal
from support.waiting import wait_until

from starlings.messages import AmendmentRejected, PlanAmended, RunOutcome, StepDone

pytestmark = pytest.mark.kafka

ALL = str(Path(__file__).parents[1] / "support" / "strategists.py")
WITHIN_S = 90.0


class Models(ModelServer):
    """A model for each agent: `guide` by its turns, `boss` by a plan, a panel by its names."""

    def next_reply(self, request, _headers):
        self.requests.append(request)
        system = request["messages"][0]["content"]
        if request["model"] == "b-2":
            return refusal(401)
        if "Role: panelist" in system:
            return Reply(json.dumps({"reasoning": "", "answer": "A wren"}))
        if "Role: planner" in system:
            agent = "nobody" if "nowhere" in request["messages"][1]["content"] else "guide"
            step = {"id": "s1", "agent": agent, "task": "Quick", "depends_on": []}
            return Reply(json.dumps({"steps": [step], "cannot": None}))
        if "Task: Quick" in request["messages"][1]["content"]:
            return Reply("quickly done")
        return self._turn(sum(m["role"] == "assistant" for m in request["messages"]))

    @staticmethod
    def _turn(made):
        calls = [("ring", {"bird": "wren"}), ("look", {"place": "roof"})]
        if made >= len(calls):
            return Reply("There are seven.")
        name, args = calls[made]
        function = {"name": name, "arguments": json.dumps(args)}
        return Reply(
            message={"tool_calls": [{"id": "c", "type": "function", "function": function}]}
        )


@pytest.fixture(scope="module")
def models():
    with model_server(Models()) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def started(system, models):
    """What all tests of this file need."""
    env = {"OPENAI_BASE_URL": models.base_url, "STARLINGS_MODEL_RETRIES": "0"}
    system.start("coordinator", "planner")
    return system.start(ALL, env=env), env


@pytest.fixture
async def client(system):
    async with system.client() as client:
        yield client


async def test_one_that_fails_does_not_fail_a_vote(client):
    run = await client.submit(plan=[{"id": "v", "agent": "panel", "task": "Which bird?"}])

    done = await run.result(timeout_s=WITHIN_S)

    assert (done.outcome, done.output["answer"]) == (RunOutcome.COMPLETED, "A wren")
    assert (done.output["decided_by"], done.output["votes"]) == ("all", 2)
    assert done.usage.calls == 2


async def test_a_manager_hands_out_steps_and_what_waits_for_it_gets_their_results(client):
    plan = [
        {"id": "m", "agent": "boss", "task": "Have it done"},
        {"id": "end", "agent": "guide", "task": "Quick", "depends_on": ["m"]},
    ]
    run = await client.submit(plan=plan)

    done = await run.result(timeout_s=WITHIN_S)

    assert [(s.step_id, s.state) for s in done.steps] == [
        ("m", "done"),
        ("m:s1", "done"),
        ("end", "done"),
    ]
    [amended] = await facts_of(client, run.run_id, PlanAmended)
    assert [step.id for step in amended.amendment.add] == ["m:s1"]


async def test_work_for_an_agent_that_nobody_knows_is_rejected_and_the_log_says_so(client):
    run = await client.submit(plan=[{"id": "m", "agent": "boss", "task": "Go nowhere"}])

    done = await run.result(timeout_s=WITHIN_S)

    assert (done.outcome, [s.step_id for s in done.steps]) == (RunOutcome.COMPLETED, ["m"])
    [rejected] = await facts_of(client, run.run_id, AmendmentRejected)
    assert rejected.problems[0].code == "unknown_agent"


async def test_a_draft_is_reviewed_and_edited_by_agents_of_their_own(system, client):
    names = system.start("writer", "critic", "editor")
    plan = [
        {"id": "draft", "agent": "writer", "task": "Write about terns"},
        {"id": "review", "agent": "critic", "task": "Review", "depends_on": ["draft"]},
        {
            "id": "text",
            "agent": "editor",
            "task": "Revise the text about terns",
            "depends_on": ["draft", "review"],
            "when": {"value": "{{steps.review.output.accepted}}", "equals": False},
        },
        {"id": "again", "agent": "critic", "task": "Review", "depends_on": ["text"]},
    ]
    run = await client.submit(plan=plan)

    done = await run.result(timeout_s=WITHIN_S)

    assert done.outcome is RunOutcome.COMPLETED
    assert done.output == {"accepted": True, "score": 10, "points": []}
    results = await facts_of(client, run.run_id, StepDone)
    used = {each.step_id: each.prompts[0].split(":")[0] for each in results}
    assert used == {
        "draft": "writer/1",
        "review": "critic/1",
        "text": "editor/1",
        "again": "critic/1",
    }
    for name in names:
        system.stop(name)


async def test_turns_go_on_after_a_crash_where_they_were(system, client, models, started):
    """Killed while a tool of the second turn is at work: neither turn is paid for again."""
    (name,), env = started
    before = len(models.requests)
    run = await client.submit(plan=[{"id": "g", "agent": "guide", "task": "How many birds?"}])
    await wait_until(
        lambda: any(e.what == "look-roof" for e in effects(system)),
        timeout_s=WITHIN_S,
        message="the second turn's tool is at work",
    )
    system.kill(name)
    open_gate(system, "gate")
    system.start(ALL, env=env)

    done = await run.result(timeout_s=WITHIN_S)

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "There are seven.")
    made = Counter(e.what for e in effects(system) if e.run_id == run.run_id)
    assert made == {"ring-wren": 1, "look-roof": 2}  # the call that was cut off has no answer
    assert len(models.requests) - before == done.usage.calls == 3
