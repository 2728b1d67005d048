"""Settings of the planner; those of the model are read by `starlings.llm`."""

from __future__ import annotations

from pydantic import Field

from starlings.service import ServiceSettings


class PlannerSettings(ServiceSettings):
    """What can be set beside the settings that every service has."""

    concurrency: int = Field(default=16, ge=1, le=1_000, description="requests planned at once")
    registry_wait_s: float = Field(
        default=10.0, ge=0, description="how long a request waits for its agents to come alive"
    )
