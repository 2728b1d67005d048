"""The model's settings: from the environment and `.env`, checked, and never printing a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from starlings.llm import LlmSettings, configured_endpoint
from starlings.messages import ConfigError

ROOT = Path(__file__).parents[2]
NAMES = [field.validation_alias for field in LlmSettings.model_fields.values()]


@pytest.fixture(autouse=True)
def clean_place(monkeypatch, tmp_path):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_settings_no_model_is_configured():
    settings = LlmSettings.load()
    assert configured_endpoint(settings) is None
    assert (settings.timeout_s, settings.retries, settings.temperature) == (60, 2, None)


def test_settings_come_from_the_environment_before_the_env_file(monkeypatch, clean_place):
    file = "OPENAI_API_KEY=sk-file\nSTARLINGS_MODEL=from-file\nOTHER=1\nSTARLINGS_MAX_TOKENS=\n"
    (clean_place / ".env").write_text(file)
    monkeypatch.setenv("STARLINGS_MODEL", "from-environment")
    monkeypatch.setenv("STARLINGS_MODEL_TIMEOUT_S", "2.5")
    settings = LlmSettings.load()
    assert settings.openai_api_key.get_secret_value() == "sk-file"
    assert (settings.model, settings.timeout_s) == ("from-environment", 2.5)
    assert settings.max_tokens is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_BASE_URL", "localhost:8000"),
        ("OPENAI_BASE_URL", "http://"),
        ("STARLINGS_TEMPERATURE", "warm"),
        ("STARLINGS_TEMPERATURE", "nan"),
        ("STARLINGS_MODEL_TIMEOUT_S", "0"),
        ("STARLINGS_MODEL_TIMEOUT_S", "inf"),
        ("STARLINGS_MODEL_RETRIES", "-1"),
        ("STARLINGS_MAX_TOKENS", "0"),
        ("OPENAI_API_KEY", "sk-se cret\nsk-more"),
        ("OPENAI_API_KEY", "sk-sécret"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not_repeated(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        LlmSettings.load()
    assert name in str(caught.value)
    assert "sk-" not in str(caught.value)
    assert caught.value.__context__ is None


def test_every_wrong_setting_is_named_at_once(monkeypatch):
    monkeypatch.setenv("STARLINGS_MODEL_RETRIES", "many")
    monkeypatch.setenv("STARLINGS_MAX_TOKENS", "all")
    with pytest.raises(ConfigError, match=r"MAX_TOKENS.*RETRIES|RETRIES.*MAX_TOKENS"):
        LlmSettings.load()


def test_the_key_is_printed_nowhere(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", " sk-secret\n")
    settings = LlmSettings.load()
    endpoint = configured_endpoint(settings)
    assert endpoint.api_key.get_secret_value() == "sk-secret"
    printed = f"{settings!r} {settings.model_dump_json()} {endpoint!r} {endpoint.description}"
    assert "secret" not in printed.replace("SecretStr", "")


def test_credentials_in_an_address_are_not_described(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "https://me:pass@models.example:8443/v1/")
    endpoint = configured_endpoint(LlmSettings.load())
    assert endpoint.base_url == "https://me:pass@models.example:8443/v1"
    assert endpoint.host == "models.example:8443"
    assert "pass" not in endpoint.description + repr(endpoint)
    assert not endpoint.is_openai


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("http://localhost:1/v1", True),
        ("http://127.0.0.1:1/v1", True),
        ("http://[::1]:1/v1", True),
        ("http://10.0.0.1/v1", False),
        ("https://api.openai.com/v1", False),
    ],
)
def test_a_server_on_this_machine_is_recognised(url, is_local):
    endpoint = configured_endpoint(LlmSettings(openai_base_url=url))
    assert endpoint.is_local is is_local


def test_names_that_do_not_exist_are_refused():
    import starlings.llm  # noqa: PLC0415

    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = starlings.llm.Nothing


def test_the_page_on_models_tells_every_setting():
    page = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"| `{name}` |" not in page] == []
