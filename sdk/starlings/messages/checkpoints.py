"""What an agent must remember across a crash, on its compacted topic `checkpoints.<agent>`.

A checkpoint lies in the partition of the same number as the step's own record, chosen explicitly:
whoever is assigned the one reads the other. Its key is the piece of *work*: `run/step/attempt` of a
step, for other records their message id. Under that key lies who is at work on it and the state of
its job; under `run/step/attempt#name` the answer of one call, so that large answers are not written
again with every renewal of a claim. A tombstone under the work's key says that the work has ended
and its result is in the log.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, JsonValue

from .base import Message, Model

STEP_READY = "/step_ready"  # how the message id of a step's work ends
CALL = "#"


class Claim(Model):
    """Who is at work on it; it holds for as long as renewals of it are seen."""

    instance: str
    lease_s: float = Field(
        gt=0, le=3_600, description="without a renewal for so long, its owner is taken for dead"
    )
    renewal: int = Field(default=0, ge=0, description="rises with each renewal")


class AttemptCheckpoint(Message):
    """What is remembered of a piece of work; with neither claim nor job it was handed back."""

    NAME: ClassVar[str] = "attempt_checkpoint"

    work: str = Field(min_length=1, description="run/step/attempt, or a record's message id")
    offset: int | None = Field(
        default=None, ge=0, description="of the work's record, in the partition of this number"
    )
    claim: Claim | None = None
    job: dict[str, Any] | None = Field(
        default=None, description="state of the job that goes on elsewhere, as its agent wrote it"
    )

    @property
    def key(self) -> str:
        """Key of its record."""
        return self.work


class CallCheckpoint(Message):
    """The answer of a call that is not to be made a second time."""

    NAME: ClassVar[str] = "call_checkpoint"

    work: str = Field(min_length=1, description="run/step/attempt, or a record's message id")
    offset: int | None = Field(
        default=None, ge=0, description="of the work's record, in the partition of this number"
    )
    call: str = Field(min_length=1, description="its name within the work")
    answer: JsonValue = None

    @property
    def key(self) -> str:
        """Key of its record."""
        return call_key(self.work, self.call)


def work_of(message_id: str) -> str:
    """Name the work that a record asks for, by its message id; no other record has the name."""
    return message_id.removesuffix(STEP_READY).replace(CALL, "%23")


def call_key(work: str, call: str) -> str:
    """Key of a call's answer."""
    return f"{work}{CALL}{call}"


def split_key(key: str) -> tuple[str, str | None]:
    """Read a checkpoint's key: the work, and the call's name where it is a call's."""
    work, separator, call = key.partition(CALL)
    return work, call if separator else None
