"""The model client against real HTTP servers that misbehave."""

from __future__ import annotations

import json
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from support.model_server import Reply, model_server, refusal

from starlings.llm import LlmSettings, ModelClient, ModelFailed
from starlings.messages import TransientError, error_info

KEY = "sk-very-secret-1234567890"
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "integer"}},
    "required": ["answer"],
    "additionalProperties": False,
}
QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "6 times 7?"}]
GOOD = '{"answer": 42}'


@pytest.fixture
def server():
    with model_server() as running:
        yield running


def settings(server, **more):
    given = {
        "openai_api_key": KEY,
        "openai_base_url": server.base_url,
        "model": "some-model",
        "timeout_s": 10,
        "backoff_s": 0.001,
        "backoff_max_s": 0.002,
        **more,
    }
    return LlmSettings(_env_file=None, **given)


def wants_42(value):
    return [] if value["answer"] == 42 else [f"answer is {value['answer']!r}, but it has to be 42"]


async def ask(server, **more):
    async with ModelClient(settings(server, **more)) as client:
        return await client.structured(QUESTION, SCHEMA, name="answer", validate=wants_42)


async def fails(server, kind=ModelFailed, **more):
    with pytest.raises(kind) as caught:
        await ask(server, **more)
    assert KEY not in str(caught.value) + error_info(caught.value).model_dump_json()
    return caught.value


# -- a good answer -------------------------------------------------------------------------------


async def test_a_schema_is_asked_for_in_strict_mode_and_the_answer_carries_what_it_cost(server):
    server.replies(GOOD)
    answer = await ask(server)
    assert answer.value == {"answer": 42}
    assert (answer.rounds, answer.model) == (1, "scripted-1")
    assert answer.usage.model_dump() == {
        "model": "scripted-1",
        "calls": 1,
        "input_tokens": 10,
        "output_tokens": 3,
        "unpriced_calls": 1,
    }
    asked = server.requests[0]
    assert asked["model"] == "some-model"
    assert asked["response_format"]["json_schema"] == {
        "name": "answer",
        "schema": SCHEMA,
        "strict": True,
    }
    assert not {"tools", "tool_choice", "n", "temperature", "max_tokens"} & asked.keys()
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


async def test_temperature_and_token_limit_are_sent_when_they_are_set(server):
    server.replies(GOOD)
    await ask(server, temperature=0.0, max_tokens=100)
    assert (server.requests[0]["temperature"], server.requests[0]["max_tokens"]) == (0.0, 100)


async def test_an_open_schema_is_not_called_strict(server):
    server.replies('{"answer": 1}')
    async with ModelClient(settings(server)) as client:
        await client.structured(QUESTION, {"type": "object", "properties": {}}, name="open")
    assert server.requests[0]["response_format"]["json_schema"]["strict"] is False


async def test_a_server_without_a_key_is_asked_without_ado(server):
    server.replies(GOOD)
    assert (await ask(server, openai_api_key=None)).value == {"answer": 42}


async def test_text_in_parts_is_read_as_one(server):
    server.replies(
        Reply(message={"content": [{"type": "text", "text": GOOD[:5]}, {"text": GOOD[5:]}]})
    )
    assert (await ask(server)).value == {"answer": 42}


# -- asking in plainer ways ----------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_a_server_that_refuses_schemas_is_asked_plainly_from_then_on(server, status):
    server.replies(refusal(status), refusal(status), GOOD, GOOD)
    await ask(server)
    assert server.formats == ["json_schema", "json_object", "prompt"]
    await ask(server)
    assert server.formats[3:] == ["prompt"]


async def test_a_schema_that_cannot_be_sent_is_said_in_words(server):
    server.replies(refusal(400), GOOD)
    await ask(server)
    [system, user] = server.requests[1]["messages"]
    assert system["content"].startswith("Be brief.\n\n")
    assert json.dumps(SCHEMA) in system["content"]
    assert user == QUESTION[1]


async def test_a_500_is_tried_again_once_before_asking_in_a_plainer_way(server):
    server.replies(refusal(500), refusal(500), GOOD, GOOD)
    await ask(server, retries=5)
    assert server.formats == ["json_schema", "json_schema", "json_object"]
    await ask(server)
    assert server.formats[3:] == ["json_object"]


async def test_one_500_by_chance_does_not_change_the_way_of_asking(server):
    server.replies(refusal(500), GOOD, GOOD)
    await ask(server)
    await ask(server)
    assert server.formats == ["json_schema"] * 3


async def test_another_model_of_the_same_server_is_asked_by_schema_again(server):
    server.replies(refusal(400), GOOD, GOOD)
    await ask(server)
    await ask(server, model="other-model")
    assert server.formats == ["json_schema", "json_object", "json_schema"]


@pytest.mark.parametrize("status", [401, 403, 413, 429, 503])
async def test_other_refusals_do_not_change_the_way_of_asking(server, status):
    server.replies(refusal(status), GOOD)
    await fails(server, (ModelFailed, TransientError), retries=0)
    await ask(server)
    assert server.formats == ["json_schema", "json_schema"]


async def test_a_request_refused_in_every_way_names_the_model_and_the_address(server):
    server.replies(*[refusal(404, "model 'some-model' not found")] * 3)
    error = await fails(server)
    assert (error.code, error.retryable) == ("model_request_refused", False)
    for part in ("HTTP 404", "not found", "STARLINGS_MODEL", "some-model", "OPENAI_BASE_URL"):
        assert part in str(error)


# -- answers that are not what was asked for -----------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("It is forty-two.", "no JSON"),
        ('{"answer": 4', "cut off"),
        ("", "empty"),
        (Reply(None), "empty"),
        ('{"answer": NaN}', "NaN"),
        ('{"result": 42}', "shape"),
        ('{"answer": 41}', "has to be 42"),
    ],
)
async def test_a_bad_answer_is_shown_to_the_model_with_its_problems(server, bad, problem):
    server.replies(bad, GOOD)
    answer = await ask(server)
    assert (answer.value, answer.rounds) == ({"answer": 42}, 2)
    assert (answer.usage.calls, answer.usage.input_tokens) == (2, 20)
    shown = server.requests[1]["messages"][2:]
    assert problem in shown[-1]["content"]
    previous = bad if isinstance(bad, str) else ""
    assert [m["content"] for m in shown[:-1]] == ([previous] if previous else [])


async def test_a_model_that_never_mends_its_answer_fails_with_the_last_problems(server):
    server.replies('{"answer": 1}', "what?", '{"answer": 3}', GOOD)
    error = await fails(server)
    assert (error.code, error.retryable) == ("model_output_invalid", False)
    assert error.problems == ["answer is 3, but it has to be 42"]
    assert "after 3 answers" in str(error)
    assert "STARLINGS_MODEL" in str(error)
    assert error.usage.calls == 3
    assert len(server.requests) == 3


async def test_an_answer_cut_off_by_the_token_limit_is_an_error_of_its_own(server):
    server.replies(Reply(GOOD, finish_reason="length"))
    error = await fails(server)
    assert error.code == "model_output_truncated"
    assert "STARLINGS_MAX_TOKENS" in str(error)
    assert error.usage.output_tokens == 3


@pytest.mark.parametrize(
    "reply",
    [
        Reply(None, message={"refusal": "I must not."}),
        Reply("", finish_reason="content_filter"),
    ],
)
async def test_a_refusal_is_an_error_of_its_own(server, reply):
    server.replies(reply)
    assert (await fails(server)).code == "model_refused"


@pytest.mark.parametrize(
    "body",
    [
        "<html>Welcome to the proxy</html>",
        "{",
        "[]",
        {"choices": []},
        {"choices": None},
        {"choices": [{"message": None}]},
        {"choices": [7]},
        {},
    ],
)
async def test_a_body_that_is_no_completion_names_the_address(server, body):
    server.replies(Reply(body=body))
    error = await fails(server)
    assert error.code == "model_bad_response"
    assert "OPENAI_BASE_URL" in str(error)


async def test_a_completion_that_leaves_everything_else_out_is_read(server):
    server.replies(Reply(body={"choices": [{"message": {"content": GOOD}}]}))
    answer = await ask(server)
    assert (answer.value, answer.model) == ({"answer": 42}, "some-model")
    assert answer.usage.input_tokens == 0


# -- errors of the server ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_not_tried_again_and_names_the_setting(server, status):
    server.replies(refusal(status, f"Incorrect API key provided: {KEY}"))
    error = await fails(server)
    assert (error.code, error.retryable) == ("model_unauthorized", False)
    assert "check OPENAI_API_KEY" in str(error)
    assert len(server.requests) == 1


async def test_a_missing_key_is_asked_for(server):
    server.replies(refusal(401))
    assert "set OPENAI_API_KEY" in str(await fails(server, openai_api_key=None))


@pytest.mark.parametrize("status", [408, 409, 429, 502, 503, 504, 529])
async def test_what_may_pass_is_tried_again_and_then_reported_as_transient(server, status):
    server.replies(*[refusal(status)] * 3)
    error = await fails(server, TransientError, retries=2)
    assert error.code == ("model_rate_limited" if status == 429 else "model_unavailable")
    assert error.retryable
    assert "tried 3 times" in str(error)
    assert len(server.requests) == 3


async def test_a_500_in_every_way_of_asking_is_an_outage(server):
    server.replies(*[refusal(500, "oops")] * 7)
    error = await fails(server, TransientError, retries=2)
    assert error.code == "model_unavailable"
    assert server.formats == ["json_schema"] * 2 + ["json_object"] * 2 + ["prompt"] * 3


@pytest.mark.parametrize(
    "headers", [{"retry_after": "0.3"}, {"retry_after_ms": "300", "retry_after": "9"}]
)
async def test_retry_after_is_waited_for_in_place_of_our_back_off(server, headers):
    server.replies(refusal(429, **headers), GOOD)
    began = time.monotonic()
    assert (await ask(server)).value == {"answer": 42}
    assert 0.3 <= time.monotonic() - began < 5


async def test_a_long_retry_after_goes_to_the_caller_at_once(server):
    server.replies(refusal(429, retry_after="120"))
    error = await fails(server, TransientError)
    assert (error.code, error.retry_after_s) == ("model_rate_limited", 120)
    assert len(server.requests) == 1


async def test_retry_after_may_be_a_date(server):
    at = datetime.now(UTC) + timedelta(seconds=100)
    server.replies(refusal(503, retry_after=format_datetime(at, usegmt=True)))
    error = await fails(server, TransientError)
    assert 90 < error.retry_after_s <= 100


@pytest.mark.parametrize("value", ["soon", "-5", "nan", "Mon, 99 Foo 2020"])
async def test_a_senseless_retry_after_is_left_aside(server, value):
    server.replies(refusal(429, retry_after=value), GOOD)
    assert (await ask(server)).value == {"answer": 42}


async def test_an_account_without_credit_is_not_tried_again(server):
    error_body = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    server.replies(Reply(status=429, body=error_body))
    error = await fails(server)
    assert (error.code, error.retryable) == ("model_quota_exhausted", False)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("code", "kind", "expected"),
    [(429, TransientError, "model_rate_limited"), (502, TransientError, "model_unavailable"),
     (402, ModelFailed, "model_bad_response")],
)  # fmt: skip
async def test_an_error_inside_a_200_is_still_an_error(server, code, kind, expected):
    server.replies(Reply(body={"error": {"message": "provider says no", "code": code}}))
    error = await fails(server, kind, retries=0)
    assert error.code == expected
    assert "provider says no" in str(error)


async def test_silence_ends_in_a_timeout_that_names_the_setting(server):
    server.replies(Reply(hangs=True), Reply(hangs=True))
    error = await fails(server, TransientError, timeout_s=0.2, retries=1)
    assert error.code == "model_timeout"
    assert "within 0.2 s (tried 2 times)" in str(error)
    assert "STARLINGS_MODEL_TIMEOUT_S" in str(error)


async def test_silence_once_is_survived(server):
    server.replies(Reply(hangs=True), GOOD)
    assert (await ask(server, timeout_s=0.5)).value == {"answer": 42}


async def test_a_lost_connection_is_tried_again(server):
    server.replies(Reply(hangs_up=True), GOOD)
    assert (await ask(server)).value == {"answer": 42}


async def test_an_address_where_nobody_listens_is_named(server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        error = await fails(server, TransientError, openai_base_url=f"http://127.0.0.1:{port}/v1")
    assert error.code == "model_unavailable"
    assert f"127.0.0.1:{port}" in str(error)
    assert "OPENAI_BASE_URL" in str(error)


async def test_what_was_spent_before_a_failure_is_not_lost(server):
    server.replies("no JSON", Reply(GOOD, finish_reason="length"))
    assert (await fails(server)).usage.calls == 2


async def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    server.replies(GOOD)
    assert (await ask(server)).value == {"answer": 42}
