"""Which model is asked, where, and how patiently: settings from the environment and `.env`.

Every setting can be given for one agent alone: its name, two underscores, and the agent's name in
capitals (`STARLINGS_MODEL__WRITER`; the planner's is `PLANNER`). That overrules what the agent's
author says in code, which overrules what is set for all.

A key goes only to the server that it was given for: who is sent to another address without a key
of its own is sent there without one.

Secrets are never printed: neither by `repr`, nor in the errors raised here.
"""

from __future__ import annotations

import json
from copy import copy
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    create_model,
)
from pydantic_settings import NoDecode, SettingsConfigDict

from starlings.environment import EnvironmentSettings
from starlings.messages.errors import ConfigError

from .choice import Fallback, ModelChoice, PriceSetting, clean_url

DEFAULT_MODEL = "gpt-5.4-mini"
OPENAI_URL = "https://api.openai.com/v1"


def _clean_key(key: SecretStr | None) -> SecretStr | None:
    if key is None:
        return None
    text = key.get_secret_value().strip()
    if not (text.isascii() and text.isprintable()):
        raise ValueError("has characters that no API key has; copy the key again")
    return SecretStr(text) if text else None


def _read_list(value: Any) -> Any:
    """Read fallbacks: names divided by commas, or JSON with objects."""
    if not isinstance(value, str):
        return value
    if value.strip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("begins with '[' and is no JSON list") from None
    return [part.strip() for part in value.split(",") if part.strip()]


class LlmSettings(EnvironmentSettings):
    """Settings of the language model; the field names work as arguments in code."""

    model_config = SettingsConfigDict(frozen=True, populate_by_name=True, allow_inf_nan=False)

    openai_api_key: Annotated[SecretStr | None, AfterValidator(_clean_key)] = Field(
        default=None,
        validation_alias="OPENAI_API_KEY",
        description="key of the model's provider; with neither key nor address: offline rules",
    )
    openai_base_url: Annotated[str | None, AfterValidator(clean_url)] = Field(
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

    fallbacks: Annotated[
        tuple[Annotated[Fallback, BeforeValidator(Fallback.read)], ...],
        NoDecode,
        BeforeValidator(_read_list),
    ] = Field(
        default=(),
        validation_alias="STARLINGS_MODEL_FALLBACKS",
        description="who is asked next where one cannot be: model or model@address, divided by"
        " commas, or JSON objects with model, base_url, api_key_env and price",
    )
    circuit_failures: int = Field(
        default=5,
        ge=1,
        validation_alias="STARLINGS_MODEL_CIRCUIT_FAILURES",
        description="so many failed calls in a row, and the model is left alone for a while",
    )
    circuit_open_s: float = Field(
        default=30.0,
        ge=0,
        validation_alias="STARLINGS_MODEL_CIRCUIT_OPEN_S",
        description="how long it is left alone then; 0: never",
    )
    models_allowed: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_read_list)] = Field(
        default=(),
        validation_alias="STARLINGS_MODELS_ALLOWED",
        description="models that runs may ask for by name, divided by commas; unset: any of the"
        " server's",
    )
    price: Annotated[PriceSetting, NoDecode] = Field(
        default=None,
        validation_alias="STARLINGS_MODEL_PRICE",
        description="US dollars per million tokens in and out, as in 0.15/0.60; unset: the list"
        " prices of known providers",
    )
    stream: bool = Field(
        default=False,
        validation_alias="STARLINGS_MODEL_STREAM",
        description="tell what the model writes as progress of the step, piece by piece",
    )
    tools: Literal["auto", "words"] = Field(
        default="auto",
        validation_alias="STARLINGS_MODEL_TOOLS",
        description="words: declare no tools, tell them in words (for servers that ignore them)",
    )
    cassette: Path | None = Field(
        default=None,
        validation_alias="STARLINGS_LLM_CASSETTE",
        description="file with recorded answers",
    )
    cassette_mode: Literal["record", "replay", "auto"] = Field(
        default="replay",
        validation_alias="STARLINGS_LLM_CASSETTE_MODE",
        description="replay: ask nobody; record: ask, and write down; auto: ask what is missing",
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

    def for_agent(self, name: str, choice: ModelChoice | None = None) -> LlmSettings:
        """Return the settings of one agent.

        Raises:
            ConfigError: naming every setting that is wrong.
        """
        chosen = choice.given() if choice is not None else {}
        own = _own_settings(name.upper().replace("-", "_")).load()
        chosen |= {field: getattr(own, field) for field in own.model_fields_set}
        elsewhere = chosen.get("openai_base_url", self.openai_base_url) != self.openai_base_url
        if elsewhere and "openai_api_key" not in chosen:
            chosen["openai_api_key"] = None
        return self.model_copy(update=chosen)


class _OwnSettings(LlmSettings):
    # by name, a key for all would be read as the agent's own
    model_config = SettingsConfigDict(populate_by_name=False)


@cache
def _own_settings(suffix: str) -> type[LlmSettings]:
    """Make settings whose variables end in an agent's name."""
    fields: dict[str, Any] = {}
    for name, field in LlmSettings.model_fields.items():
        own = copy(field)
        own.validation_alias = own.alias = f"{field.validation_alias}__{suffix}"
        fields[name] = (field.rebuild_annotation(), own)
    return create_model(f"LlmSettings_{suffix}", __base__=_OwnSettings, **fields)
