"""What all conditions of the built-in sensor have in common."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

MISSING = object()
_INDEX = re.compile(r"0|[1-9][0-9]{0,17}")  # beyond that no list has a place


Pointer = Annotated[str, Field(pattern=r"^(/[^/]*)*$", max_length=1_000)]


class Looked(BaseModel):
    """A condition: looked at every so often."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every_s: float = Field(
        default=10.0, ge=0.1, le=86_400, allow_inf_nan=False, description="how often to look"
    )


def at(value: JsonValue, pointer: str) -> Any:
    """Find what a JSON Pointer (RFC 6901) points to; `MISSING` where there is nothing."""
    found: Any = value
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and _INDEX.fullmatch(name) and int(name) < len(found):
            found = found[int(name)]
        else:
            return MISSING
    return found


def same(left: JsonValue, right: JsonValue) -> bool:
    """Compare JSON values: true is not 1."""
    return left == right and isinstance(left, bool) == isinstance(right, bool)
