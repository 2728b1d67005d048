"""What people type into `requests`."""

from __future__ import annotations

import pytest

from starlings.messages import FailurePolicy, UndecodableMessage, read_request
from starlings.messages.requests import REQUEST_LIMIT_BYTES

STEPS = b'[{"agent":"math","task":"2+2"}]'
AS_PLAN = {"steps": [{"agent": "math", "task": "2+2"}]}


def refusal(value: bytes) -> tuple[str, str]:
    with pytest.raises(UndecodableMessage) as caught:
        read_request(value)
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize(
    ("value", "request_text"),
    [
        (b"add 2 and 2", "add 2 and 2"),
        (b"\tadd 2 and 2 \r\n", "add 2 and 2"),
        ('"häppy"'.encode(), "häppy"),
        (b'"to be" is a quote', '"to be" is a quote'),
        (b"[sic] is Latin", "[sic] is Latin"),
        (b"42", "42"),
        (b"null", "null"),
        (b'{"request":"x","unknown":1}', "x"),
    ],
)
def test_text_in_any_form_is_a_request(value, request_text):
    assert read_request(value).request == request_text


@pytest.mark.parametrize(
    "value", [STEPS, b'{"steps":%s}' % STEPS, b'{"plan":{"steps":%s}}' % STEPS]
)
def test_a_plan_by_itself_is_a_request(value):
    assert read_request(value).plan == AS_PLAN


def test_a_full_request_keeps_what_it_says():
    found = read_request(
        b'{"request":"x","run_id":"r1","tags":{"a":"b"},"max_parallel":2,"on_failure":"continue",'
        b'"deadline":"2030-01-01T00:00:00Z"}'
    )
    assert (found.run_id, found.tags, found.max_parallel) == ("r1", {"a": "b"}, 2)
    assert found.options().on_failure is FailurePolicy.CONTINUE
    assert found.deadline.year == 2030


def test_steps_beside_other_fields_keep_both():
    found = read_request(b'{"run_id":"r1","steps":%s}' % STEPS)
    assert (found.run_id, found.plan) == ("r1", AS_PLAN)


@pytest.mark.parametrize(
    "value", [b"", b" \n", b"{}", b'{"text":"x"}', b'{"request":""}', b'{"request":null}', b'""']
)
def test_nothing_asked_for_is_told_what_is_accepted(value):
    code, said = refusal(value)
    assert code == "empty_request"
    assert '{"request": "…"}' in said


def test_text_that_is_not_utf8_is_told_which_byte():
    assert refusal(b"caf\xe9") == (
        "not_utf8",
        "the request is not UTF-8 (byte 3); send text as UTF-8",
    )


@pytest.mark.parametrize("value", [b"{broken", b'{"request":', b'{"a":' * 1_000])
def test_what_begins_like_json_and_is_not_is_told_so(value):
    code, said = refusal(value)
    assert code == "not_json"
    assert said.startswith("the request begins like JSON, but is not")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b'{"request":5}', "request: Input should be a valid string"),
        (b'{"request":NaN}', "request: Input should be a valid string"),
        (b'{"request":"x","run_id":"not an id!"}', "run_id:"),
        (b'{"request":"x","on_failure":"explode"}', "on_failure:"),
        (b'{"request":"x","timeout_s":-1}', "timeout_s:"),
    ],
)
def test_a_wrong_field_is_named(value, said):
    code, text = refusal(value)
    assert code == "bad_request"
    assert said in text


def test_the_limit_is_on_the_text_not_on_the_plan():
    assert len(read_request(b"x" * REQUEST_LIMIT_BYTES).request) == REQUEST_LIMIT_BYTES
    code, said = refusal(b"x" * (REQUEST_LIMIT_BYTES + 1))
    assert code == "too_large"
    assert "pass large inputs by reference" in said
    steps = b'{"request":"y","steps":[{"agent":"math","input":"%s"}]}' % (b"x" * 1_000_000)
    assert len(read_request(steps).plan["steps"][0]["input"]) == 1_000_000
