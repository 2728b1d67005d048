"""Settings of both sides of the knowledge base."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from starlings.messages import AgentTopic
from starlings.service import load_settings
from starlings_agents.own_settings import OwnSettings


class KnowledgeSettings(OwnSettings):
    """Which knowledge base, and where an instance that reads keeps its store."""

    model_config = SettingsConfigDict(env_prefix="STARLINGS_KNOWLEDGE_")

    base: str = Field(
        default="main",
        pattern=r"^[a-z][a-z0-9_-]{0,62}$",
        description="name of the knowledge base; each has a topic of its own",
    )
    store: Path | None = Field(
        default=None, description="SQLite file of an instance that reads; it may be deleted"
    )
    catch_up_s: float = Field(
        default=5.0, gt=0, le=600, description="how long a query reads on before it answers"
    )
    follow_s: float = Field(
        default=5.0, ge=0.1, le=86_400, description="how often an instance reads on by itself"
    )
    embedding_model: str | None = Field(
        default=None, description="model of OPENAI_BASE_URL that ranks by meaning; unset: by words"
    )

    @property
    def topic(self) -> AgentTopic:
        """Topic of the knowledge base: the latest word about each document, keyed by document."""
        return AgentTopic(
            name=f"knowledge.{self.base}",
            compacted=True,
            description=f"what the knowledge base {self.base} has learned",
        )

    def store_of(self, name: str) -> Path:
        """Say where the store is, for the knowledge base of this name on one Kafka."""
        if self.store is not None:
            return self.store
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
        return (data / "starlings" / "knowledge" / f"{name}.sqlite").absolute()


def topics() -> list[AgentTopic]:
    """Name the topics that both sides need."""
    return [load_settings(KnowledgeSettings).topic]
