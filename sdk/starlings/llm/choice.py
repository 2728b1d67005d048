"""Which model an agent asks: said in code by `Agent(..., model=…)`, overruled by the environment.

Needs nothing of the model client, so that agents without a model load nothing of it.
"""

from __future__ import annotations

import os
import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr

from starlings.messages.base import Model
from starlings.messages.errors import ConfigError

_NAME_OF_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def clean_url(url: str | None) -> str | None:
    """Check an address, which may carry credentials that no error repeats."""
    if url is None or not url.strip():
        return None
    url = url.strip().rstrip("/")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in {"http", "https"} or not rest.strip("/"):
        raise ValueError("is no http(s) address; it looks like http://127.0.0.1:11434/v1")
    return url


class Price(Model):
    """US dollars per million tokens."""

    input: Decimal = Field(ge=0, le=10**6)
    output: Decimal = Field(ge=0, le=10**6)


def read_price(value: Any) -> Any:
    """Read "0.15/0.60": per million tokens in, and out."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    parts = value.split("/")
    try:
        into, out = (Decimal(part.strip()) for part in parts)
    except (InvalidOperation, ValueError):
        raise ValueError(
            "has to be two prices in US dollars per million tokens, in and out, as in 0.15/0.60"
        ) from None
    return Price(input=into, output=out)


PriceSetting = Annotated[Price | None, BeforeValidator(read_price)]


Address = Annotated[str | None, AfterValidator(clean_url)]


class Fallback(Model):
    """Who is asked where the models before it in the list cannot be."""

    model_config = ConfigDict(hide_input_in_errors=True)

    model: str = Field(min_length=1)
    base_url: Address = Field(default=None, description="null: the address of the first one")
    api_key_env: str | None = Field(default=None, description="name of the variable with its key")
    price: PriceSetting = None

    @classmethod
    def read(cls, value: Any) -> Any:
        """Read `model`, or `model@http://host/v1`."""
        if not isinstance(value, str):
            return value
        model, _, address = value.strip().partition("@http")
        return {"model": model, "base_url": f"http{address}" if address else None}


class ModelChoice(Model):
    """What an agent's author says about the model that it asks; null: what is set for all.

    `temperature`, `max_tokens`, `timeout_s`, `retries` and `price` are those of the settings.
    `api_key_env` names the environment variable with the key: no key stands in code. `stream`: what
    the model writes becomes signs of life of the step, piece by piece.
    """

    model_config = ConfigDict(hide_input_in_errors=True, extra="forbid")

    model: str | None = None
    base_url: Address = None
    api_key_env: str | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1)
    timeout_s: float | None = Field(default=None, gt=0)
    retries: int | None = Field(default=None, ge=0, le=100)
    stream: bool | None = None
    price: PriceSetting = None
    fallbacks: tuple[Annotated[Fallback, BeforeValidator(Fallback.read)], ...] | None = None

    def given(self) -> dict[str, Any]:
        """Return what is chosen, by the names of the settings.

        Raises:
            ConfigError: the key is to be taken from a variable that is not set.
        """
        given = {
            name: value
            for name in type(self).model_fields
            if (value := getattr(self, name)) is not None
        }
        if "base_url" in given:
            given["openai_base_url"] = given.pop("base_url")
        if "api_key_env" in given:
            given["openai_api_key"] = key_in(given.pop("api_key_env"))
        return given


def key_in(variable: str) -> SecretStr:
    """Read a key from the environment variable that somebody named.

    Raises:
        ConfigError: it is not set. What was given is not repeated where it may be a key itself.
    """
    if not _NAME_OF_VARIABLE.fullmatch(variable):
        raise ConfigError(
            "api_key_env has to be the name of an environment variable that holds the key, such as "
            "AZURE_API_KEY, and not the key itself"
        )
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"{variable} is not set, and a model's key is to be taken from it")
    return SecretStr(key)
