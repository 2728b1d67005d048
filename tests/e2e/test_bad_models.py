"""Models that answer badly, or not at all: the run comes about after all, or ends with a reason."""

from __future__ import annotations

import json
import time

import pytest
from support.asking import SLOW, facts_of, texts_of, the_only_end
from support.model_server import ModelServer, Reply, model_server, refusal

from starlings.messages import PlanCreated, PlanRejected, RunOutcome

pytestmark = pytest.mark.kafka

GOOD = json.dumps(
    {"steps": [{"id": "s1", "agent": "slow", "task": "{}", "depends_on": []}], "cannot": None}
)
SELFISH = GOOD.replace("[]", '["s1"]')
HALF = GOOD[: len(GOOD) // 2]
PROSE = "I would love to help! First, let us think about what slowness means to us."
MANY = 40  # replies, where it does not matter how often the model is asked
HANGS = Reply(hangs=True)


@pytest.fixture(scope="module")
def model():
    """One misbehaving model for all tests of this file."""
    with model_server() as model:
        yield model


@pytest.fixture(scope="module", autouse=True)
def started(system, model):
    """What all tests of this file need: a planner that loses its patience early."""
    system.start("coordinator", SLOW)
    system.start(
        "planner",
        env={
            "OPENAI_BASE_URL": model.base_url,
            "OPENAI_API_KEY": "sk-test",
            "STARLINGS_MODEL_TIMEOUT_S": "0.5",
            # one test's outage shall not make the next one wait
            "STARLINGS_MODEL_CIRCUIT_OPEN_S": "0",
            "STARLINGS_MODEL_BACKOFF_S": "0.01",
            "STARLINGS_MODEL_RETRY_AFTER_MAX_S": "1.5",
        },
    )


async def ask(system, model: ModelServer, *script: Reply | str):
    """Have a request planned by a model that follows a script; return the run's one end."""
    model.replies(*script)
    model.requests.clear()
    async with system.client() as client:
        run = await client.submit("Take your time")
    done = await the_only_end(system, run.run_id)
    model.script.clear()
    async with system.client() as client:
        plans = await facts_of(client, run.run_id, PlanCreated | PlanRejected)
    assert len(plans) == 1
    return done


@pytest.mark.parametrize(
    "script",
    [
        [HALF, GOOD],
        ["", GOOD],
        [PROSE, PROSE, GOOD],
        [SELFISH, GOOD],
        [f"Sure! Here is the plan:\n```json\n{GOOD}\n```\nAnything else?"],
        [refusal(429, retry_after="1"), GOOD],
        [refusal(429, retry_after="2"), GOOD],  # longer than a call waits: the request does
        [refusal(500), GOOD],
        [refusal(503), refusal(502), GOOD],
        [HANGS, GOOD],
        [Reply(hangs_up=True), GOOD],
    ],
    ids=[
        "half",
        "empty",
        "prose",
        "selfish",
        "chatty",
        "429",
        "429 long",
        "500",
        "503",
        "hangs",
        "hangs up",
    ],
)
async def test_a_model_that_comes_round_gets_its_plan_run(system, model, script):
    began = time.monotonic()

    done = await ask(system, model, *script)

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "s1"), done.error
    assert len(model.requests) >= len(script)
    if script[0] == SELFISH:  # it was shown what is wrong
        shown = model.requests[1]["messages"][-1]["content"]
        assert "step 's1': depends_on: the step depends on itself" in shown
    if isinstance(script[0], Reply) and script[0].status == 429:
        assert time.monotonic() - began >= float(script[0].headers["retry-after"])


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (PROSE, "model_output_invalid", ["no JSON", "STARLINGS_MODEL"]),
        (HALF, "model_output_invalid", ["STARLINGS_MODEL"]),
        ("", "model_output_invalid", ["empty", "STARLINGS_MODEL"]),
        (
            SELFISH,
            "model_output_invalid",
            ["the step depends on itself", "remove 's1' from its depends_on"],
        ),
        (
            Reply(GOOD[:20], finish_reason="length"),
            "model_output_truncated",
            ["STARLINGS_MAX_TOKENS"],
        ),
        (refusal(401, "bad key"), "model_unauthorized", ["OPENAI_API_KEY", "401"]),
        (refusal(429), "model_rate_limited", ["429", "later"]),
        (refusal(500), "model_unavailable", ["500", "later"]),
        (HANGS, "model_timeout", ["0.5 s", "STARLINGS_MODEL_TIMEOUT_S"]),
        ('{"steps": [], "cannot": "Nobody here can fly"}', "cannot_plan", ["Nobody here can fly"]),
    ],
    ids=["prose", "half", "empty", "selfish", "length", "401", "429", "500", "hangs", "cannot"],
)
async def test_a_model_that_stays_bad_ends_the_run_with_the_reason(
    system, model, reply, code, words
):
    done = await ask(system, model, *[reply] * MANY)

    assert done.outcome is RunOutcome.REJECTED
    assert done.problems[0].code == code, texts_of(done)
    for word in words:
        assert word in texts_of(done)
    assert "sk-test" not in texts_of(done)
    assert "sk-test" not in system.log("planner")
