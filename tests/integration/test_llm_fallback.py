"""Several models behind each other, circuit breakers, costs: against real servers."""

from __future__ import annotations

import asyncio

import pytest
from support.model_server import Reply, model_server, refusal

from starlings.llm import Fallback, LlmSettings, ModelAway, ModelClient, ModelFailed, Price
from starlings.llm.chat import user
from starlings.messages import error_info

KEY = "sk-very-secret-1234567890"
ASKED = [user("Hello?")]


@pytest.fixture
def first():
    with model_server() as running:
        yield running


@pytest.fixture
def second():
    with model_server() as running:
        yield running


def client(first, *fallbacks, **more):
    given = {"retries": 0, "backoff_s": 0.001, "circuit_failures": 2, **more}
    settings = LlmSettings(
        _env_file=None,
        openai_api_key=KEY,
        openai_base_url=first.base_url,
        model="one",
        fallbacks=fallbacks,
        **given,
    )
    return ModelClient(settings)


def behind(server, **more):
    return Fallback(model="two", base_url=server.base_url, **more)


@pytest.mark.parametrize(
    "trouble",
    [
        refusal(503),
        refusal(429, retry_after="120"),
        Reply(hangs_up=True),
        Reply(
            status=429,
            body={"error": {"message": "no credit", "code": "insufficient_quota"}},
        ),
    ],
)
async def test_the_next_model_is_asked_where_the_first_one_cannot_be(first, second, trouble):
    first.replies(trouble)
    second.replies("Hello.")
    async with client(first, behind(second)) as model:
        turn = await model.chat(ASKED)
    assert turn.text == "Hello."
    assert second.requests[0]["model"] == "two"


async def test_a_key_goes_only_to_the_server_that_it_was_given_for(first, second, monkeypatch):
    monkeypatch.setenv("OTHER_KEY", "sk-other-0987654321")
    for given, sent in ((None, "Bearer not-needed"), ("OTHER_KEY", "Bearer sk-other-0987654321")):
        first.replies(refusal(503))
        second.replies("Hello.")
        async with client(first, behind(second, api_key_env=given), circuit_failures=99) as model:
            await model.chat(ASKED)
        assert second.headers[-1]["authorization"] == sent
        assert KEY not in str(second.headers)


async def test_another_model_of_the_same_server_is_asked_with_the_same_key(first):
    first.replies(refusal(503), "Hello.")
    async with client(first, "two") as model:
        assert (await model.chat(ASKED)).text == "Hello."
    assert [request["model"] for request in first.requests] == ["one", "two"]
    assert first.headers[1]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_what_somebody_has_to_mend_is_not_hidden_by_the_next_model(first, second, status):
    first.replies(refusal(status))
    async with client(first, behind(second)) as model:
        with pytest.raises(ModelFailed):
            await model.chat(ASKED)
    assert second.requests == []


async def test_where_none_can_be_asked_the_shortest_wait_is_told(first, second):
    first.replies(refusal(429, retry_after="120"))
    second.replies(refusal(429, retry_after="60"))
    async with client(first, behind(second)) as model:
        with pytest.raises(ModelAway) as caught:
            await model.chat(ASKED)
    assert (caught.value.retry_after_s, caught.value.cooldown) == (60, True)
    assert str(caught.value).count("HTTP 429") == 2


async def test_after_so_many_failures_the_model_is_left_alone_and_the_agent_cools_down(first):
    first.replies(refusal(503), refusal(503))
    async with client(first, circuit_open_s=60) as model:
        for _ in range(2):
            with pytest.raises(ModelAway):
                await model.chat(ASKED)
        with pytest.raises(ModelAway) as caught:
            await model.chat(ASKED)
    assert len(first.requests) == 2
    told = error_info(caught.value)
    assert (told.code, told.cooldown, told.retryable) == ("model_circuit_open", True, True)
    assert 50 < told.retry_after_s <= 60


async def test_a_model_that_is_left_alone_is_asked_once_to_find_out(first):
    first.replies(refusal(503), refusal(503), "Hello.", "Hello again.")
    async with client(first, circuit_open_s=0.2) as model:
        for _ in range(2):
            with pytest.raises(ModelAway):
                await model.chat(ASKED)
        await asyncio.sleep(0.25)  # what is waited for is the time itself
        assert (await model.chat(ASKED)).text == "Hello."
        assert (await model.chat(ASKED)).text == "Hello again."


async def test_a_server_that_asks_for_a_long_wait_is_not_asked_again_meanwhile(first, second):
    first.replies(refusal(429, retry_after="120"))
    second.replies("one", "two")
    async with client(first, behind(second)) as model:
        assert [(await model.chat(ASKED)).text for _ in range(2)] == ["one", "two"]
    assert len(first.requests) == 1


# -- costs ---------------------------------------------------------------------------------------


async def test_a_price_of_ones_own_makes_the_cost_known(first):
    first.replies("Hello.")
    async with client(first, price=Price(input=2, output=10)) as model:
        usage = (await model.chat(ASKED)).usage
    assert usage.cost_usd == pytest.approx((10 * 2 + 3 * 10) / 1e6)
    assert usage.unpriced_calls == 0


async def test_an_unknown_price_is_said_and_is_not_zero(first):
    first.replies("Hello.")
    async with client(first) as model:
        usage = (await model.chat(ASKED)).usage
    assert (usage.cost_usd, usage.unpriced_calls) == (None, 1)


async def test_a_server_that_counts_no_tokens_has_no_known_cost_whatever_the_price(first):
    first.replies(Reply(body={"choices": [{"message": {"content": "Hello."}}]}))
    async with client(first, price=Price(input=2, output=10)) as model:
        usage = (await model.chat(ASKED)).usage
    assert (usage.calls, usage.cost_usd, usage.unpriced_calls) == (1, None, 1)


async def test_a_sum_tells_how_many_of_its_calls_have_no_price(first, second):
    first.replies(Reply("", finish_reason="stop"), refusal(503))
    second.replies("Hello.")
    async with client(first, behind(second), price=Price(input=1, output=1)) as model:
        usage = (await model.chat(ASKED)).usage
    assert usage.calls == 2
    assert usage.cost_usd == pytest.approx(13 / 1e6)
    assert usage.unpriced_calls == 1


# -- secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        refusal(400, f"bad header Authorization: Bearer {KEY}"),
        refusal(401, f"Incorrect API key provided: {KEY}"),
        refusal(503, f"upstream refused {KEY}"),
        Reply(body=f"<html>proxy error for {KEY}</html>"),
        Reply(body={"error": {"message": f"no such key {KEY}", "code": 500}}),
        Reply(body={"error": {"message": f"no such key {KEY}"}}),
        Reply("", message={"refusal": f"I know your key: {KEY}"}),
    ],
)
async def test_no_error_repeats_the_key(first, reply, caplog, capsys):
    first.replies(*[reply] * 5)
    async with client(first, retries=1, circuit_failures=99) as model:
        with pytest.raises((ModelFailed, ModelAway)) as caught:
            await model.chat(ASKED)
    said = str(caught.value) + error_info(caught.value).model_dump_json() + repr(caught.value)
    printed = capsys.readouterr()
    assert KEY not in said + caplog.text + printed.out + printed.err
    assert "***" in said


async def test_a_key_in_an_answer_is_taken_out_of_it(first):
    first.replies(f"Your key is {KEY}.")
    async with client(first) as model:
        assert (await model.chat(ASKED)).text == "Your key is ***."


async def test_azure_style_options_in_the_address_go_along_and_are_not_said(first):
    first.base_url += "?api-version=2024-10-21&sig=0123456789abcdef"
    first.replies("Hello.", refusal(400, "bad sig 0123456789abcdef"))
    async with client(first) as model:
        assert (await model.chat(ASKED)).text == "Hello."
        with pytest.raises(ModelFailed) as caught:
            await model.chat(ASKED)
    assert "0123456789abcdef" not in str(caught.value)
    assert "api-version=2024-10-21" in first.paths[0]
