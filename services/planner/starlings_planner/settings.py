"""Settings of the planner; those of the model are read by `starlings.llm`."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from starlings.messages.base import AgentName, VariantName
from starlings.messages.plan import Share
from starlings.planning import routing_problems
from starlings.service import ServiceSettings


class PlannerSettings(ServiceSettings):
    """What can be set beside the settings that every service has."""

    concurrency: int = Field(default=16, ge=1, le=1_000, description="requests planned at once")
    registry_wait_s: float = Field(
        default=10.0, ge=0, description="how long a request waits for its agents to come alive"
    )
    routing: dict[AgentName, dict[VariantName, Share]] = Field(
        default_factory=dict,
        description='JSON with shares of variants by agent, as in {"math": {"canary": 0.1}}',
    )

    @model_validator(mode="after")
    def _shares_are_possible(self) -> Self:
        for problem in routing_problems(self.routing):
            raise ValueError(f"STARLINGS_ROUTING: {problem.message}; {problem.remedy}")
        return self
