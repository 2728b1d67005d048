"""What a commit of the coordinator says beside its offset.

- `restore_from`: from where a successor must read.
- `state`, now and then: a report of the state that its runs had at an offset, as a hash. Nobody
  needs it to go on; `starlings replay verify --rebuild` holds it against the log. Readers that do
  not know of it pass over it.

The broker takes 4,096 characters; what is written here has a bounded length far below.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

_Offset = Annotated[int, Field(ge=0, lt=1 << 63)]
_Count = Annotated[int, Field(ge=0, lt=1 << 53)]


class StateReport(BaseModel):
    """The state of the runs that were open at an offset: those of one slice, as one hash."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    at: _Offset = Field(description="the first offset that had not been folded")
    restore_from: _Offset = Field(description="as it was at that offset")
    hash: str = Field(pattern=r"^[0-9a-f]{32}$")
    runs: _Count = Field(description="that were hashed")
    left_out: _Count = Field(default=0, description="runs of the slice that are too long")
    parked: _Count = Field(default=0, description="runs that were set aside, of all slices")
    slice: _Count = 0
    slices: _Count = Field(default=1, ge=1)
    state_version: _Count = Field(description="by which states were written for the hash")
    look_back_records: _Count
    look_back_ms: _Count
    carry_after_records: _Count

    @model_validator(mode="after")
    def _check_slice(self) -> StateReport:
        if self.slice >= self.slices:
            raise ValueError("slices are counted from 0")
        return self


def write_metadata(restore_from: int, report: StateReport | None = None) -> str:
    """Write the offset metadata of a commit."""
    said: dict[str, Any] = {"v": 1, "restore_from": restore_from}
    if report is not None:
        said["state"] = report.model_dump(mode="json")
    return json.dumps(said)


def read_metadata(metadata: str | None) -> int | None:
    """Read `restore_from` out of a commit's metadata; None where it is missing or foreign."""
    value = _read(metadata).get("restore_from")
    known = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if known else None


def read_report(metadata: str | None) -> StateReport | None:
    """Read the report of the state; None where there is none, or none that can be read."""
    try:
        return StateReport.model_validate(_read(metadata).get("state"))
    except ValidationError:
        return None


def _read(metadata: str | None) -> dict[str, Any]:
    try:
        value = json.loads(metadata or "")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
