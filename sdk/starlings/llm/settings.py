"""Which model is asked, where, and how patiently: settings from the environment and `.env`.

Secrets are never printed: neither by `repr`, nor in the errors raised here.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from starlings.messages.errors import ConfigError

DEFAULT_MODEL = "gpt-5.4-mini"
OPENAI_URL = "https://api.openai.com/v1"


def _clean_key(key: SecretStr | None) -> SecretStr | None:
    if key is None:
        return None
    text = key.get_secret_value().strip()
    if not (text.isascii() and text.isprintable()):
        raise ValueError("has characters that no API key has; copy the key again")
    return SecretStr(text) if text else None


def _clean_url(url: str | None) -> str | None:
    if url is None or not url.strip():
        return None
    url = url.strip().rstrip("/")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in {"http", "https"} or not rest.strip("/"):
        raise ValueError("is no http(s) address; it looks like http://127.0.0.1:11434/v1")
    return url


class LlmSettings(BaseSettings):
    """Settings of the language model; the field names work as arguments in code."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
        allow_inf_nan=False,
    )

    openai_api_key: Annotated[SecretStr | None, AfterValidator(_clean_key)] = Field(
        default=None,
        validation_alias="OPENAI_API_KEY",
        description="key of the model's provider; with neither key nor address: offline rules",
    )
    openai_base_url: Annotated[str | None, AfterValidator(_clean_url)] = Field(
        default=None,
        validation_alias="OPENAI_BASE_URL",
        description=f"any server with the OpenAI chat protocol; OpenAI itself is {OPENAI_URL}",
    )
    model: str = Field(
        default=DEFAULT_MODEL,
        min_length=1,
        validation_alias="STARLINGS_MODEL",
        description="model to ask, by the name that its server gives it",
    )
    temperature: float | None = Field(
        default=None,
        ge=0,
        le=2,
        validation_alias="STARLINGS_TEMPERATURE",
        description="not sent where unset: some models refuse any value",
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        validation_alias="STARLINGS_MAX_TOKENS",
        description="limit of one answer; unset: the server's own",
    )
    timeout_s: float = Field(
        default=60.0,
        gt=0,
        validation_alias="STARLINGS_MODEL_TIMEOUT_S",
        description="limit of one call, from sending the question to the whole answer",
    )
    retries: int = Field(
        default=2,
        ge=0,
        le=100,
        validation_alias="STARLINGS_MODEL_RETRIES",
        description="further tries after 408, 409, 429, 5xx, timeouts and lost connections",
    )
    backoff_s: float = Field(
        default=0.5,
        ge=0,
        validation_alias="STARLINGS_MODEL_BACKOFF_S",
        description="first wait before a further try; doubles each time",
    )
    backoff_max_s: float = Field(
        default=8.0,
        ge=0,
        validation_alias="STARLINGS_MODEL_BACKOFF_MAX_S",
        description="longest wait that we choose ourselves",
    )
    retry_after_max_s: float = Field(
        default=30.0,
        ge=0,
        validation_alias="STARLINGS_MODEL_RETRY_AFTER_MAX_S",
        description="longest Retry-After waited for within a call; longer ones go to the caller",
    )

    @classmethod
    def load(cls) -> Self:
        """Read the settings.

        Raises:
            ConfigError: naming every setting that is wrong.
        """
        try:
            return cls()
        except ValidationError as error:
            problems = [f"{e['loc'][0]}: {e['msg'].lower()}" for e in error.errors()]
        raise ConfigError("; ".join(problems))
