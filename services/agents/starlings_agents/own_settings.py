"""How agents read settings of their own: from the environment and `.env`, as `<prefix><NAME>`."""

from __future__ import annotations

from pydantic_settings import BaseSettings, SettingsConfigDict


class OwnSettings(BaseSettings):
    """Settings of one agent; its class says the prefix: `SettingsConfigDict(env_prefix=…)`."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )
