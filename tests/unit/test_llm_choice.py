"""Which model an agent asks: what its environment says, then its author, then what is for all."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from starlings import Agent
from starlings.llm import Fallback, LlmSettings, ModelChoice, Price
from starlings.llm.endpoint import configured_endpoint, fallback_endpoints
from starlings.messages import ConfigError

NAMES = [field.validation_alias for field in LlmSettings.model_fields.values()]
CHOICE = ModelChoice(model="author", temperature=0.5, max_tokens=100, stream=True)


@pytest.fixture(autouse=True)
def clean_place(monkeypatch, tmp_path):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_agents_environment_overrules_its_author_who_overrules_what_is_for_all(
    monkeypatch, clean_place
):
    monkeypatch.setenv("STARLINGS_MODEL", "all")
    monkeypatch.setenv("STARLINGS_TEMPERATURE", "1")
    monkeypatch.setenv("STARLINGS_MODEL_RETRIES", "7")
    monkeypatch.setenv("STARLINGS_MODEL__WEB_SEARCH", "operator")
    (clean_place / ".env").write_text("STARLINGS_MAX_TOKENS__WEB_SEARCH=50\n")
    settings = LlmSettings.load().for_agent("web-search", CHOICE)
    assert (settings.model, settings.temperature) == ("operator", 0.5)
    assert (settings.max_tokens, settings.retries, settings.stream) == (50, 7, True)
    other = LlmSettings.load().for_agent("writer")
    assert (other.model, other.temperature, other.max_tokens) == ("all", 1, None)


def test_a_wrong_setting_of_an_agent_is_named_as_it_is_written(monkeypatch):
    monkeypatch.setenv("STARLINGS_TEMPERATURE__WRITER", "hot")
    with pytest.raises(ConfigError, match="STARLINGS_TEMPERATURE__WRITER: "):
        LlmSettings.load().for_agent("writer")


def key_of(settings):
    endpoint = configured_endpoint(settings)
    return endpoint.api_key.get_secret_value() if endpoint.has_key else None


def test_a_key_for_all_does_not_go_to_an_address_of_an_agents_own(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-all-12345")
    general = LlmSettings.load()
    elsewhere = ModelChoice(base_url="http://127.0.0.1:9/v1")
    assert key_of(general.for_agent("writer")) == "sk-for-all-12345"
    assert key_of(general.for_agent("writer", elsewhere)) is None
    monkeypatch.setenv("OPENAI_API_KEY__WRITER", "sk-own-12345678")
    assert key_of(general.for_agent("writer", elsewhere)) == "sk-own-12345678"


def test_a_key_is_taken_from_the_variable_that_the_author_names(monkeypatch):
    named = ModelChoice(base_url="http://127.0.0.1:9/v1", api_key_env="VLLM_KEY")
    with pytest.raises(ConfigError, match="VLLM_KEY is not set"):
        LlmSettings.load().for_agent("writer", named)
    monkeypatch.setenv("VLLM_KEY", "sk-vllm-12345678")
    assert key_of(LlmSettings.load().for_agent("writer", named)) == "sk-vllm-12345678"


def test_a_key_in_the_place_of_its_variables_name_is_refused_and_not_repeated():
    named = ModelChoice(api_key_env="sk-proj-1234567890")
    with pytest.raises(ConfigError) as caught:
        LlmSettings.load().for_agent("writer", named)
    assert "1234567890" not in str(caught.value)


def test_fallbacks_are_names_addresses_or_objects(monkeypatch):
    monkeypatch.setenv("STARLINGS_MODEL_FALLBACKS", "b, c@http://127.0.0.1:9/v1/")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-all-12345")
    settings = LlmSettings.load()
    assert settings.fallbacks == (
        Fallback(model="b"),
        Fallback(model="c", base_url="http://127.0.0.1:9/v1"),
    )
    same, other = fallback_endpoints(settings, configured_endpoint(settings))
    assert (same.has_key, other.has_key, other.host) == (True, False, "127.0.0.1:9")
    monkeypatch.setenv("STARLINGS_MODEL_FALLBACKS", '[{"model": "d", "price": "0.1/0.2"}]')
    assert LlmSettings.load().fallbacks == (
        Fallback(model="d", price=Price(input="0.1", output="0.2")),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STARLINGS_MODEL_FALLBACKS", "[nonsense"),
        ("STARLINGS_MODEL_FALLBACKS", '[{"base_url": "http://user:hunter22@x"}]'),
        ("STARLINGS_MODEL_PRICE", "cheap"),
        ("STARLINGS_MODEL_PRICE", "1/2/3"),
        ("STARLINGS_MODEL_PRICE", "-1/2"),
        ("STARLINGS_MODEL_CIRCUIT_FAILURES", "0"),
        ("STARLINGS_LLM_CASSETTE_MODE", "rewind"),
    ],
)
def test_a_wrong_value_is_named_and_not_repeated(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=name) as caught:
        LlmSettings.load()
    assert "hunter22" not in str(caught.value)


def test_a_choice_says_what_it_does_not_know_without_repeating_addresses():
    with pytest.raises(ValidationError) as caught:
        ModelChoice(base_url="ftp://user:hunter22@x", temprature=1)
    assert "temprature" in str(caught.value)
    assert "hunter22" not in str(caught.value)


def test_an_agent_takes_a_name_or_a_choice_and_nothing_else():
    assert Agent("a", description="A", model="m").model == ModelChoice(model="m")
    assert Agent("a", description="A", model=CHOICE).model is CHOICE
    with pytest.raises(ConfigError, match="has to be a name, or a ModelChoice"):
        Agent("a", description="A", model=1)
