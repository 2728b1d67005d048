"""How agents read settings of their own: from the environment and `.env`, as `<prefix><NAME>`."""

from __future__ import annotations

from pydantic_settings import SettingsConfigDict

from starlings.environment import EnvironmentSettings


class OwnSettings(EnvironmentSettings):
    """Settings of one agent; its class says the prefix: `SettingsConfigDict(env_prefix=…)`."""

    model_config = SettingsConfigDict(frozen=True, allow_inf_nan=False)
