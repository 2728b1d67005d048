"""Secrets are said nowhere."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from starlings.llm import Endpoint

KEY = "kj3+/hg7sd9f8sd7f"
PASSWORD = "tr0ub4dor&3"


@pytest.fixture
def endpoint():
    user = f"svc:{quote(PASSWORD, safe='')}"
    address = f"https://{user}@models.example/v1?api-version=2024-10-21&token=abcdef123456"
    return Endpoint(base_url=address, model="m", api_key=SecretStr(KEY))


@pytest.mark.parametrize(
    "text",
    [
        f"bad key {KEY}",
        f"Authorization: Bearer {KEY}",
        f"key {quote(KEY, safe='')} in a query",
        f"password {PASSWORD}",
        f"at https://svc:{quote(PASSWORD, safe='')}@models.example/v1",
        "Basic " + base64.b64encode(f"svc:{PASSWORD}".encode()).decode(),
        "GET /v1?token=abcdef123456",
    ],
)
def test_what_is_known_to_be_secret_is_taken_out_of_everything(endpoint, text):
    said = endpoint.redacted(text)
    assert "***" in said
    for secret in (KEY, PASSWORD, quote(KEY, safe=""), "abcdef123456"):
        assert secret not in said


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-proj-abcdefghijklmnopqrstuv",
        "api-key: 0123456789abcdef",
        "{'Authorization': 'Bearer 0123456789abcdef'}",
        "authorization=Basic 0123456789abcdef==",
        "cannot reach https://someone:0123456789abcdef@other.example/v1",
    ],
)
def test_what_looks_like_a_secret_is_taken_out_of_errors(endpoint, text):
    said = endpoint.safe_to_say(text)
    assert "***" in said
    assert "0123456789abcdef" not in said
    assert "abcdefghijklmnopqrstuv" not in said


def test_everyday_words_stay(endpoint):
    text = "the basic plan has no authorization for the model gpt-5.4-mini, 2024-10-21"
    assert endpoint.safe_to_say(text) == text


def test_no_secret_is_in_what_an_endpoint_says_of_itself(endpoint):
    said = f"{endpoint!r} {endpoint.description} {endpoint.host} {endpoint.public_url}"
    assert KEY not in said
    assert "tr0ub4dor" not in said
    assert "abcdef123456" not in said
    assert endpoint.public_url == "https://models.example/v1"
