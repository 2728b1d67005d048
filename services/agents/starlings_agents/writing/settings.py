"""Settings of the agents that write: a house style, limits, and when a critic is content."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from starlings.agents.strategies.review import PASS_SCORE
from starlings.messages import ConfigError
from starlings.service.settings import load_settings
from starlings_agents.own_settings import OwnSettings

_STYLE_BYTES = 100_000


class WritingSettings(OwnSettings):
    """What holds for writer, critic and editor."""

    model_config = SettingsConfigDict(env_prefix="STARLINGS_WRITING_")

    style_file: Path | None = Field(
        default=None, description="a text with rules of style, told to all three"
    )
    max_chars: int = Field(
        default=200_000, ge=1_000, le=2_000_000, description="limit of a text that is worked on"
    )
    pass_score: int = Field(
        default=PASS_SCORE, ge=0, le=10, description="what an accepted draft has at least, of 10"
    )

    @property
    def style(self) -> str:
        """The rules of style, read anew for each step.

        Raises:
            ConfigError: naming the setting.
        """
        if self.style_file is None:
            return ""
        try:
            with self.style_file.open(encoding="utf-8") as file:
                text = file.read(_STYLE_BYTES + 1)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"STARLINGS_WRITING_STYLE_FILE: {self.style_file} cannot be read: "
                f"{type(error).__name__}"
            ) from None
        if len(text) > _STYLE_BYTES:
            raise ConfigError(
                f"STARLINGS_WRITING_STYLE_FILE: {self.style_file} has more than {_STYLE_BYTES:,} "
                "characters"
            )
        return f"The house style, which you keep to:\n{text.strip()}" if text.strip() else ""


def writing_settings() -> WritingSettings:
    """Read the settings.

    Raises:
        ConfigError: naming what is wrong.
    """
    return load_settings(WritingSettings)
