"""What is said about documents on the topic, and positions in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from starlings import StepFailed

LONGEST_TEXT_BYTES = 500_000
LONGEST_RECORD_BYTES = 1_000_000  # as JSON, in which quotes and line ends take two; Kafka's limit

DocumentId = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$"
    ),
]
Positions = Mapping[int, int]


class KnowledgeChange(BaseModel):
    """A document has been learned, or forgotten; the latest word about it counts.

    Readers accept unknown fields. A record without a value means that it was forgotten as well.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    change: Literal["learned", "forgotten"]
    document: DocumentId
    text: str = ""
    title: str = Field(default="", max_length=500)
    source: str = Field(default="", max_length=2_000, description="where it comes from")
    by: str = Field(default="", description="run/step/attempt that said so")
    at: datetime


def write_positions(positions: Positions) -> str:
    """Write positions, `0:12,3:7`: the next offset of each partition."""
    return ",".join(f"{partition}:{offset}" for partition, offset in sorted(positions.items()))


def read_positions(text: str) -> dict[int, int]:
    """Read positions.

    Raises:
        StepFailed: `input_invalid`.
    """
    try:
        pairs = [part.split(":") for part in text.split(",") if part]
        return {int(partition): int(offset) for partition, offset in pairs}
    except ValueError:
        raise StepFailed(
            f"{text[:80]!r} is no position; give what `learn` returned, as in 0:12,3:7",
            code="input_invalid",
        ) from None
