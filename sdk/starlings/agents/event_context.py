"""What a reaction to a domain event knows about the event."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import structlog

from .model_port import ModelPort, Spent
from .once import Once, current_once
from .step_model import StepModel, no_model


@dataclass(frozen=True, kw_only=True)
class EventContext:
    """One try of one reaction, as its function sees it.

    Attributes:
        run_id: the correlation id, which all events of a chain share.
        event_id: the event's own.
        event_type: what it is, `ticket_created`.
        agent: the agent's name.
        attempt: 1 for the first try.
        causation_id: the event that led to this one; None where nobody's reaction did.
        hops: how many reactions lie before this event.
        replaying: whether the event is a replayed one: effects should be left out then.
    """

    run_id: str
    event_id: str
    event_type: str
    agent: str
    attempt: int = 1
    causation_id: str | None = None
    hops: int = 0
    replaying: bool = False
    memory: Once = field(default_factory=current_once, repr=False, compare=False)
    model_port: ModelPort | None = field(default=None, repr=False, compare=False)
    spent: Spent | None = field(default=None, repr=False, compare=False)

    @property
    def log(self) -> Any:
        """A structlog logger, bound with the ids."""
        return structlog.get_logger("starlings.agent").bind(
            run=self.run_id, event_id=self.event_id, event_type=self.event_type, agent=self.agent
        )

    @property
    def idempotency_key(self) -> str:
        """Name this reaction for the systems that it acts on: a repeat has the same key."""
        return f"{self.event_id}/{self.agent}"

    @property
    def model(self) -> StepModel:
        """The language model of this agent; what it costs is told in the record of the reaction.

        Answers are kept for this try only: one that is made again asks again.

        Raises:
            StepFailed: `no_model`.
        """
        if self.model_port is None:
            raise no_model(self.agent)
        return StepModel(self.model_port, self.memory, self.spent or Spent())
