"""How all settings are read: from the environment and `.env`, without a word of their values."""

from __future__ import annotations

from pydantic_settings import BaseSettings, SettingsConfigDict


class EnvironmentSettings(BaseSettings):
    """Settings from the environment; its class adds the prefix: `SettingsConfigDict(env_prefix=…)`.

    A variable that is empty counts as not set, as charts and compose files write it; variables of
    others in `.env` are passed over; errors show no input, which may be a secret.
    """

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", hide_input_in_errors=True
    )
