"""Costs by the list prices that come along; nothing is looked up on a network."""

from __future__ import annotations

import socket

import pytest
from pydantic import SecretStr

from starlings.llm import Endpoint
from starlings.llm.pricing import with_cost
from starlings.llm.reply import Reply
from starlings.messages import Usage


def used(model, base_url, **more):
    endpoint = Endpoint(base_url=base_url, model=model, api_key=SecretStr("sk-1234567890"))
    usage = Usage(model=model, calls=1, input_tokens=1_000_000, output_tokens=100_000)
    return with_cost(Reply(usage=usage, **more), endpoint, None).usage


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_args, **_more):
        raise AssertionError("prices are looked up without a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.openai.com/v1",
        "https://x.openai.azure.com/openai/v1",
        "https://user:secret-password@api.openai.com/v1",
    ],
)
def test_models_of_known_providers_have_their_list_price(base_url):
    usage = used("gpt-4o", base_url)
    assert usage.cost_usd == pytest.approx(2.5 + 1.0)
    assert usage.unpriced_calls == 0


def test_tokens_from_the_providers_cache_cost_less():
    url = "https://api.openai.com/v1"
    assert used("gpt-4o", url, cached_tokens=900_000).cost_usd < used("gpt-4o", url).cost_usd


@pytest.mark.parametrize(
    ("model", "base_url"),
    [
        ("gpt-4o", "http://127.0.0.1:8000/v1"),  # the name is known, the server is not
        ("no-such-model", "https://api.openai.com/v1"),
        ("", "https://api.openai.com/v1"),
    ],
)
def test_an_unknown_price_is_unknown(model, base_url):
    usage = used(model, base_url)
    assert (usage.cost_usd, usage.unpriced_calls) == (None, 1)


def test_rules_cost_nothing_and_that_is_known():
    endpoint = Endpoint(base_url="http://127.0.0.1:1/v1", model="rules", offline=True)
    usage = with_cost(Reply(usage=Usage(calls=1)), endpoint, None).usage
    assert (usage.cost_usd, usage.unpriced_calls) == (0, 0)


def test_a_sum_keeps_what_is_known_and_counts_what_is_not():
    total = Usage(calls=1, cost_usd=0.5).plus(Usage(calls=2, unpriced_calls=2))
    assert (total.calls, total.cost_usd, total.unpriced_calls) == (3, 0.5, 2)
    assert "unpriced_calls" not in Usage(calls=1).model_dump(mode="json")
