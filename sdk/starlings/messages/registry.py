"""What agents say of themselves on the `agents` topic."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import AwareDatetime, Field, field_validator

from .base import AgentName, Message, Model, VariantName, is_empty, is_false
from .domain import EventType
from .plan import RetryPolicy

_TAKEN = frozenset({"steps", "checkpoints", "facts"})


class ToolDefinition(Model):
    """A tool as a model and a validator see it."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = Field(
        default_factory=lambda: {"type": "object", "properties": {}},
        description="JSON Schema (2020-12) of the arguments object",
    )
    idempotent: bool = Field(
        default=False,
        exclude_if=is_false,
        description="whether its author says that calling it again does no harm",
    )


class AgentTopic(Model):
    """A topic that an agent needs beside those of its steps and events."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_-]{0,62}(\.[a-z0-9_-]{1,63})+$",
        max_length=190,
        description="without the prefix of the installation: `knowledge.main`",
    )
    compacted: bool = False
    description: str = ""

    @field_validator("name")
    @classmethod
    def _is_of_its_own(cls, name: str) -> str:
        if name.split(".", 1)[0] in _TAKEN:
            raise ValueError(
                f"topics that begin with {', '.join(sorted(_TAKEN))} have others' names"
            )
        return name


class AgentDefined(Message):
    """What an agent is; stays in the registry while the agent is scaled to zero."""

    NAME: ClassVar[str] = "agent_defined"

    agent: AgentName
    description: str = ""
    version: str = "0"
    tools: list[ToolDefinition] = Field(default_factory=list)
    takes: dict[str, Any] | None = Field(
        default=None, description="JSON Schema of the step's `input`, where the agent wants one"
    )
    takes_steps: bool = Field(default=True, description="false: it only reacts to events")
    listens: list[EventType] = Field(
        default_factory=list, description="types of the domain events that it reacts to"
    )
    emits: list[EventType] = Field(
        default_factory=list, description="types of the domain events that it may emit then"
    )
    topics: list[AgentTopic] = Field(
        default_factory=list,
        exclude_if=is_empty,
        max_length=100,
        description="topics that it needs beside those of its steps and events",
    )
    scales_from_zero: bool = False
    compensates: bool = Field(default=False, description="whether it can undo its steps")
    retry: RetryPolicy | None = Field(
        default=None, description="of its steps, where neither step nor run says otherwise"
    )


class AgentAlive(Message):
    """A heartbeat of one instance; a tombstone under its key takes it back."""

    NAME: ClassVar[str] = "agent_alive"

    agent: AgentName
    variant: VariantName | None = None
    instance: str
    concurrency: int = 1
    running: int = 0
    started_at: AwareDatetime | None = None
    interval_s: float = Field(default=5.0, gt=0)
    number: int = Field(default=0, description="grows with each heartbeat of an instance")
    limits: dict[str, int] = Field(
        default_factory=dict, description="limits shared with others: how many steps at once"
    )
    holds: dict[str, int] = Field(
        default_factory=dict, description="how many steps under a limit it may have at work"
    )


class AgentCooldown(Message):
    """No instance of an agent starts a step for a while: a provider has asked for that."""

    NAME: ClassVar[str] = "agent_cooldown"

    agent: AgentName
    for_s: float = Field(
        gt=0, description="from when it lies in the log; readers wait 600 s at the most"
    )
    code: str = ""
    reason: str = ""
    set_by: str = Field(default="", description="the instance that met the provider's limit")
