"""What is run, by which name it is found again, and what has been seen of it.

The name comes from the step's idempotency key, so that who asks twice finds the first.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from starlings.messages import StarlingsError, StepFailed

from .settings import memory_bytes

LOGS_LIMIT_BYTES = 32 * 1024
LOGS_READ_BYTES = 16 * 1024 * 1024

Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Text = Annotated[str, StringConstraints(max_length=8_192, pattern=r"^[^\x00]*$")]


class Work(BaseModel):
    """The step's input: an image, run to completion."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str = Field(max_length=512, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$")
    command: list[Text] | None = Field(
        default=None, min_length=1, max_length=256, description="instead of the image's entry point"
    )
    args: list[Text] | None = Field(
        default=None, max_length=256, description="instead of the image's arguments"
    )
    env: dict[Variable, Text] = Field(default_factory=dict, max_length=256)
    secrets: dict[
        Variable, Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
    ] = Field(default_factory=dict, max_length=64, description="variables and names of secrets")
    workdir: str | None = Field(default=None, max_length=1_024, pattern=r"^/[^\x00]*$")
    cpus: float | None = Field(default=None, gt=0, le=1_024, allow_inf_nan=False)
    memory: str | None = Field(default=None, description="such as 512Mi or 2Gi")
    log_lines: int = Field(default=100, ge=0, le=1_000, description="of the end, in the output")

    @field_validator("memory")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is not None:
            memory_bytes(value)
        return value


@dataclass(frozen=True, slots=True)
class Order:
    """All that an engine has to know in order to start it."""

    name: str
    work: Work
    cpus: float
    memory_bytes: int
    labels: dict[str, str]
    remaining_s: float | None


class Started(BaseModel):
    """The handle: by this it is found again."""

    name: str
    backend: str
    image: str
    secrets: list[str] = Field(default_factory=list, description="names, whose values are hidden")
    log_lines: int = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look has shown. `exit_code` and `failed` None: it has not ended."""

    running: bool = False
    waits_for: str = ""
    exit_code: int | None = None
    failed: StepFailed | None = None
    out_of_memory: bool = False
    logs: str = ""
    logs_cut: bool = False
    started_at: str | None = None
    finished_at: str | None = None


class Engine(Protocol):
    """Where containers run. Every call may be repeated, by any instance."""

    async def start(self, order: Order) -> None:
        """Start it, unless it has been started before under this name.

        Raises:
            StarlingsError: nothing runs under this name.
        """

    async def look(self, started: Started) -> Seen:
        """Say how far it is.

        Raises:
            StepFailed: it cannot end well any more.
            TransientError: it could not be seen.
        """

    async def remove(self, name: str) -> None:
        """End and remove it; one that is not there is no error."""


def name_of(idempotency_key: str) -> str:
    """Name what an attempt runs: fit for Docker, and for Kubernetes, whatever the run's id is."""
    return f"starlings-{hashlib.sha256(idempotency_key.encode()).hexdigest()[:32]}"


def last_of(logs: bytes) -> tuple[str, bool]:
    """Keep the end of a log, and say whether that is less than all."""
    cut = len(logs) > LOGS_LIMIT_BYTES
    return logs[-LOGS_LIMIT_BYTES:].decode(errors="replace").replace("\x00", ""), cut


class EngineRefused(StarlingsError):  # noqa: N818 - what the engine did
    """An engine answered with an error: its status tells what that means."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, code="engine_refused")
        self.status = status
