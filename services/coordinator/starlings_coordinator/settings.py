"""Settings of the coordinator, from the environment and `.env`."""

from __future__ import annotations

from pydantic import Field

from starlings.choreography import CarryPolicy
from starlings.service import ServiceSettings


class CoordinatorSettings(ServiceSettings):
    """What can be set beside the settings that every service has."""

    commit_every_s: float = Field(default=0.5, gt=0)
    look_back_records: int = Field(default=200_000, ge=1_000)
    look_back_s: float = Field(default=600.0, gt=0)
    carry_after_records: int = Field(default=50_000, ge=1_000)
    carry_after_s: float = Field(default=10 * 86_400.0, gt=0)
    stall_s: float = Field(default=60.0, gt=0, description="no progress: rebuild the consumer")
    state_report_s: float = Field(
        default=30.0, ge=0, description="how often to report the state as a hash; 0: never"
    )
    blob_patience_s: float = Field(
        default=120.0, gt=0, description="wait for the blob store before a fact is a dead letter"
    )

    def policy(self) -> CarryPolicy:
        """Put the settings of recovery together."""
        return CarryPolicy(
            look_back_records=self.look_back_records,
            look_back_ms=int(self.look_back_s * 1000),
            carry_after_records=self.carry_after_records,
            carry_after_ms=int(self.carry_after_s * 1000),
        )
